"""What an export reads of the ledger: plain rows with the names of their models' fields, and only the columns it needs.

An export reads millions of them, for which instances of the models are ten times too slow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from apps.questions.text import LETTERS


class BenchmarkRow(NamedTuple):
    slug: str
    name: str
    licence: str


class QuestionRow(NamedTuple):
    pk: int
    uid: str
    split: str
    held_out: bool
    contexts: list[dict[str, str]]
    stem: str
    options: list[str]
    key: int
    fingerprint: str
    stem_fingerprint: str
    canonical_id: int | None
    benchmark: BenchmarkRow

    @property
    def key_letter(self) -> str:
        return LETTERS[self.key]


class RunQuestionRow(NamedTuple):
    run_id: int
    question_id: int
    state: str
    reason: str
    tier: str
    error_count: int | None
    overridden: bool
    records: int
    version: int


class PathRow(NamedTuple):
    """`text` is read only of what leaves."""

    pk: int
    run_id: int
    origin: str
    generator: str
    sample: int
    parent_id: int | None
    revision: int
    current: bool
    model: str
    temperature: float | None
    seed: int | None
    call_id: str | None
    answer: str
    finish_reason: str
    author_id: int | None
    text: str

    @property
    def slot(self) -> tuple[Any, ...]:
        """What it has in common with its other revisions."""
        return self.run_id, self.origin, self.generator, self.sample, self.parent_id


class ResponseRow(NamedTuple):
    pk: int
    revision: int
    answer: str
    text: str
    author_id: int | None
    call_id: str | None


class ScoreRow(NamedTuple):
    score: int
    call_id: str | None


class VerdictRow(NamedTuple):
    pk: int
    path_id: int
    label: str
    source: str
    reviewer_id: int | None
    call_id: str | None


class CallKind(NamedTuple):
    """What a call was made for, and with what: a run has few kinds and millions of calls."""

    run_id: int
    stage: str
    endpoint: str
    model: str
    prompt: str
    simulated: bool


class ChosenRow(NamedTuple):
    """One slot of a question with what its record is made from; what the ledger lacks is None."""

    question_id: int
    slot: int
    why: str
    label: str | None
    disputed: bool | None
    decision: str | None
    decided_content: str | None
    decided_by: int | None
    path: PathRow | None
    source: PathRow | None
    response: ResponseRow | None
    score: ScoreRow | None


class TierRow(NamedTuple):
    """What set a question's tier: current verdicts by path and id, and the stages with a simulated call behind it."""

    verdicts: list[int]
    simulated_stages: list[str]
