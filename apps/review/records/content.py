"""The one fingerprint of a record: what a person accepted is what leaves, or the acceptance is void. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

from apps.questions.text import join_question


class Asked(Protocol):
    """What of a question is needed: `apps.questions.models.Question` has it."""

    @property
    def contexts(self) -> Sequence[dict[str, str]]: ...
    @property
    def stem(self) -> str: ...
    @property
    def options(self) -> Sequence[str]: ...


def content_hash(question: Asked, *, cot: str, response: str) -> str:
    """sha256 in hex of the three texts that every set of an export is made from."""
    texts = [join_question(question.contexts, question.stem, question.options), cot, response]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()
