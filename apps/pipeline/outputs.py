"""What a stage makes of a reply, on its way to the ledger."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(slots=True)
class PathOut:
    question: int
    origin: str
    generator: str
    sample: int
    parent: int | None
    revision: int
    raw: str
    text: str
    answer: str
    answer_how: str
    finish_reason: str
    model: str
    temperature: float | None
    seed: int | None


@dataclass(slots=True)
class VerdictOut:
    question: int
    path: int
    label: str
    correctness: bool | None
    coherence: bool | None
    factuality: bool | None
    reason: str


@dataclass(slots=True)
class ScoreOut:
    question: int
    path: int
    score: int
    justification: str


@dataclass(slots=True)
class ResponseOut:
    question: int
    path: int
    text: str
    answer: str


Output = PathOut | VerdictOut | ScoreOut | ResponseOut


@dataclass(slots=True)
class CallOut:
    run: int
    question: int
    stage: str
    item: str
    endpoint: str
    model: str
    prompt: str
    params: dict[str, Any]
    seed: int | None
    attempt: int
    status: str
    created_at: datetime
    error_class: str = ""
    error: str = ""
    excerpt: str = ""
    finish_reason: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost: Decimal = Decimal(0)
    reserved: bool = False  # money was set aside for it under its id
    latency_ms: int = 0
    simulated: bool = False
    fingerprint: str = ""
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(slots=True)
class FailureOut:
    question: int
    stage: str
    item: str
    error_class: str
    message: str
    call: uuid.UUID | None


class RejectedError(Exception):
    """A reply that cannot be used: `length`, `empty` or `schema`, with a sentence that says why."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message
