"""What the API of queues takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ninja import Field, Schema

from apps.questions.api_access import Problem
from apps.reasoning.api import VerdictOut
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.models import FlagKind, Harm, Judgment, QueueState, Reason, SkipReason
from apps.review.queues.said import LONGEST_COMMENT


class QueueOut(Schema):
    id: int
    name: str
    run: str = Field(alias="run.name")
    state: str
    size: int
    overlap: int
    blind: bool
    counts: bool = Field(description="Its verdicts count for labels and tiers; otherwise they only measure")
    practice: bool


class SentenceOut(Schema):
    number: int
    text: str


class OptionOut(Schema):
    letter: str
    text: str


class QuestionOut(Schema):
    uid: str
    benchmark: str
    contexts: list[dict[str, str]]
    stem: str
    options: list[OptionOut]
    key: str
    explanation: str


class RevealOut(Schema):
    label: str = Field(description="The judge's; empty when it has not judged")
    correctness: bool | None
    coherence: bool | None
    factuality: bool | None
    reason: str
    generator: str
    temperature: float | None
    model: str
    answer: str
    key: str


class GoldOut(Schema):
    label: str = Field(description="What is right")
    reason: str
    agreed: bool


class JudgmentOut(Schema):
    round: int
    phase: str = Field(description="first, revised or undone")
    blind: bool
    label: str = Field(alias="verdict.label")
    correctness: bool | None = Field(alias="verdict.correctness")
    coherence: bool | None = Field(alias="verdict.coherence")
    factuality: bool | None = Field(alias="verdict.factuality")
    reasons: list[str]
    harm: str
    sentences: list[int]
    comment: str
    flagged: bool
    created_at: datetime

    @staticmethod
    def resolve_sentences(judgment: Judgment) -> list[int]:
        return [number for _, number, _ in judgment.sentences]


class ItemOut(Schema):
    id: int
    queue: int
    position: int
    token: UUID = Field(description="Send it with the judgment")
    version: int = Field(description="Send it as `expected_version`")
    expires_at: datetime
    question: QuestionOut
    path: int
    answer: str
    sentences: list[SentenceOut]
    splitter: int
    reveal: RevealOut | None = Field(description="Empty in a blind queue until you have judged")
    mine: JudgmentOut | None = Field(description="Your judgment that stands")


class ClaimIn(Schema):
    prefetch: int = Field(1, ge=0, le=3, description="Items beyond the current one to hold ready")


class ClaimOut(Schema):
    items: list[ItemOut] = Field(description="The current one first")
    empty: str = Field(description="Why nothing comes; empty when something does")
    until: datetime | None = Field(description="When something may come")
    heartbeat_s: int


class HeartbeatOut(Schema):
    held: list[int] = Field(description="The items you still hold")


class JudgeIn(Schema):
    token: UUID
    idempotency_key: UUID = Field(description="The same request sent again is saved once and answered the same")
    expected_version: int | None = Field(None, ge=0, description="409 with both sides if you judged it elsewhere since")
    label: Literal["correct", "error"]
    axes: dict[Literal["correctness", "coherence", "factuality"], bool] | None = Field(
        None, description="Left out: from the label and the reasons"
    )
    reasons: list[Reason] = Field([], max_length=len(Reason.values))
    harm: Harm | Literal[""] = ""
    sentences: list[int] = Field([], max_length=5_000)
    splitter: int = SPLITTER_VERSION
    comment: str = Field("", max_length=LONGEST_COMMENT)
    flagged: bool = False
    active_ms: int = Field(0, ge=0, le=2**31 - 1)


class JudgeOut(Schema):
    item: int
    version: int
    summary: str = Field(description="What changed in the runs; empty in a queue that only measures")
    replayed: bool
    judgment: JudgmentOut
    reveal: RevealOut | None
    gold: GoldOut | None


class BothSides(Problem):
    version: int = Field(0, description="The version now")
    mine: JudgmentOut | None = Field(None, description="What you said in the other window; empty when you undid it")
    sent: dict[str, Any] | None = Field(None, description="What you sent now")


class UndoIn(Schema):
    idempotency_key: UUID
    expected_version: int | None = Field(None, ge=0)


class UndoLastIn(Schema):
    idempotency_key: UUID


class SkipIn(Schema):
    reason: SkipReason
    note: str = Field("", max_length=500)


class ReleaseOut(Schema):
    released: int


class FlagIn(Schema):
    kind: FlagKind
    note: str = Field("", max_length=LONGEST_COMMENT)
    idempotency_key: UUID | None = None


class FlagOut(Schema):
    id: int
    question: str = Field(alias="question.uid")
    kind: str
    note: str
    state: str
    created_at: datetime
    resolution: str


class ResolveIn(Schema):
    uphold: bool = Field(description="True: the question stays set aside")
    why: str = Field("", max_length=LONGEST_COMMENT)


class StateIn(Schema):
    state: QueueState


class MyProgressOut(Schema):
    judged_today: int
    judged: int
    skipped: int
    pace: float | None = Field(description="Judgments an hour of active time")
    active_ms_today: int
    active_ms: int
    gold_judged: int
    gold_agreed: int
    disagreed_today: int


class QueueProgressOut(Schema):
    size: int
    finished: int
    judgments: int
    wanted: int
    set_aside: int
    live: int
    skips: dict[str, int]
    flagged: int
    people: int
    active_ms: float | None = Field(description="Mean a judgment; empty for fewer than five people")
    next_expiry: datetime | None


class DisputedOut(Schema):
    path: int = Field(alias="path_id")
    question: str = Field(alias="question.uid")
    judge_label: str


class AdjudicateIn(Schema):
    idempotency_key: UUID
    expected_version: int | None = Field(None, ge=0, description="`version` of the question in the run")
    label: Literal["correct", "error"]
    axes: dict[Literal["correctness", "coherence", "factuality"], bool] | None = None
    reasons: list[Reason] = Field([], max_length=len(Reason.values))
    harm: Harm | Literal[""] = ""
    sentences: list[int] = Field([], max_length=5_000)
    comment: str = Field("", max_length=LONGEST_COMMENT)


class AdjudicatedOut(Schema):
    verdict: VerdictOut
    summary: str
    replayed: bool
