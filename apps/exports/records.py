"""Records of the three sets, made from a question, a kept path and its response (ReasonMed §5). No database here.

Every place that shows or writes a record makes it here, so the page shows what will leave to the letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypedDict, get_args

from apps.questions.text import join_question

Variant = Literal["reasonmed", "cotmed", "responsemed"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
TITLES: dict[Variant, str] = {"reasonmed": "ReasonMed", "cotmed": "CoTMed", "responsemed": "ResponseMed"}

_THINK_TAG = re.compile(r"</?think\s*>", re.IGNORECASE)


class Record(TypedDict):
    instruction: str
    input: str
    output: str


class Asked(Protocol):
    """What of a question is needed: `apps.questions.models.Question` has it."""

    @property
    def contexts(self) -> Sequence[dict[str, str]]: ...
    @property
    def stem(self) -> str: ...
    @property
    def options(self) -> Sequence[str]: ...


def make_record(variant: Variant, *, question: Asked, cot: str, response: str) -> Record:
    """One record. Raises ValueError when the path or the response has no text."""
    return make_records((variant,), question=question, cot=cot, response=response)[0]


def make_records(variants: Sequence[Variant], *, question: Asked, cot: str, response: str) -> list[Record]:
    """A record of each set. Think tags inside a text would end the reasoning early for whoever splits there: they are dropped.

    Raises ValueError when the path or the response has no text.
    """
    cot, response = plain_text(cot), plain_text(response)
    if not cot or not response:
        raise ValueError("the path is empty" if not cot else "the response is empty")
    outputs = {"reasonmed": f"<think>{cot}</think>{response}", "cotmed": cot, "responsemed": response}
    instruction = join_question(question.contexts, question.stem, question.options)
    return [{"instruction": instruction, "input": "", "output": outputs[variant]} for variant in variants]


def parse_variants(names: Iterable[str]) -> tuple[Variant, ...]:
    """The sets asked for, in their fixed order, each once; `all` means every one. Raises ValueError."""
    wanted = set(names)
    if unknown := wanted - {*VARIANTS, "all"}:
        raise ValueError(f"no such set: {', '.join(sorted(unknown))}; choose from {', '.join(VARIANTS)} or all")
    if not wanted:
        raise ValueError(f"choose at least one set of {', '.join(VARIANTS)}")
    return tuple(v for v in VARIANTS if "all" in wanted or v in wanted)


def plain_text(text: str) -> str:
    """A text without think tags and outer blanks."""
    return (_THINK_TAG.sub("", text) if "<" in text else text).strip()
