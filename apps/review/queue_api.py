"""API: queues of paths to judge. Claim the next item, judge it, keep or revise, undo, skip, flag; settle disagreements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import wraps
from typing import Any, Literal
from uuid import UUID

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from apps.questions.access import ADJUDICATOR, project_of
from apps.questions.api_access import Problem, RoleAuth, Slice, curating, judging, signed_in, slice_by
from apps.reasoning.api import PageQuery, VerdictOut, path_in_run, run_named
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.review.models import (
    Claim,
    FlagKind,
    FlagState,
    Harm,
    Judgment,
    QuestionFlag,
    QueueItem,
    QueueState,
    Reason,
    ReviewQueue,
    SkipReason,
)
from apps.review.queues.adjudication import adjudicate, disputed_paths
from apps.review.queues.build import set_queue_state
from apps.review.queues.claims import HEARTBEAT_S, admit, claim_next, heartbeat, release_item, skip_item, why_empty
from apps.review.queues.errors import ItemChanged, ItemLost, NotAdmitted, QueueError
from apps.review.queues.flags import flag_question, resolve_flag
from apps.review.queues.judging import JudgeResult, judge_item, keep_item, undo_item, undo_last
from apps.review.queues.reveal import GoldFeedback, Reveal
from apps.review.queues.said import LONGEST_COMMENT, Said
from apps.review.queues.selectors import ItemView, find_item, my_progress, queue_progress, queues_of, view_item
from apps.review.services import VersionConflict

settling = RoleAuth(ADJUDICATOR)
router = Router(tags=["queues"], auth=judging)


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


def answered(view: Callable[..., Any]) -> Callable[..., Any]:
    """What the services refuse, as 403, 409 and 422 in words."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except NotAdmitted as error:
            return Status(403, {"detail": str(error), "field": ""})
        except QueueError as error:
            return Status(422, {"detail": str(error), "field": error.field})
        except ItemLost as error:
            return Status(409, {"detail": str(error), "field": "token"})
        except VersionConflict as error:
            return Status(409, {"detail": str(error), "field": "expected_version", "version": error.current.version})
        except ItemChanged as error:
            body = kwargs.get("body")
            return Status(
                409,
                {
                    "detail": str(error),
                    "field": "expected_version",
                    "version": error.claim.version,
                    "mine": error.current,
                    "sent": body.model_dump(mode="json") if isinstance(body, Schema) else None,
                },
            )

    return guarded


REFUSED: dict[Any, Any] = {403: Problem, 404: Problem, 409: BothSides, 422: Problem}


@router.get("/queues", response={200: Slice[QueueOut]}, summary="The queues you may see")
def list_queues(request: HttpRequest, query: Query[PageQuery]) -> dict[str, Any]:
    rows = queues_of(project_of(request), signed_in(request))
    return slice_by(rows, "id", after=query.after, limit=query.limit)


@router.get("/queues/{queue_id}", response={200: QueueOut, 404: Problem}, summary="A queue")
def read_queue(request: HttpRequest, queue_id: int) -> ReviewQueue:
    return the_queue(request, queue_id)


@router.post("/queues/{queue_id}/claim", response={200: ClaimOut, **REFUSED}, summary="Your open items, and the next")
@answered
def post_claim(request: HttpRequest, queue_id: int, body: ClaimIn) -> dict[str, Any]:
    """An item that you left open comes back first, on any machine. Keep what you hold by `heartbeat`."""
    queue, person = the_queue(request, queue_id), signed_in(request)
    items = [item_out(view_item(claim)) for claim in claim_next(queue=queue, reviewer=person, prefetch=body.prefetch)]
    empty = None if items else why_empty(queue, person)
    return {
        "items": items,
        "empty": empty.words if empty else "",
        "until": empty.until if empty else None,
        "heartbeat_s": HEARTBEAT_S,
    }


@router.post("/queues/{queue_id}/heartbeat", response={200: HeartbeatOut, **REFUSED}, summary="Still at work")
@answered
def post_heartbeat(request: HttpRequest, queue_id: int) -> dict[str, Any]:
    queue, person = the_queue(request, queue_id), signed_in(request)
    admit(queue, person)
    return {"held": heartbeat(queue=queue, reviewer=person)}


@router.post("/queues/{queue_id}/undo-last", response={200: JudgeOut, **REFUSED}, summary="Undo your last judgment")
@answered
def post_undo_last(request: HttpRequest, queue_id: int, body: UndoLastIn) -> dict[str, Any]:
    queue, person = the_queue(request, queue_id), signed_in(request)
    return judge_out(undo_last(queue_id=queue.pk, reviewer=person, idempotency_key=body.idempotency_key))


@router.get("/queues/{queue_id}/my-progress", response={200: MyProgressOut, 404: Problem}, summary="Your own figures")
def read_my_progress(request: HttpRequest, queue_id: int) -> Any:
    return asdict(my_progress(signed_in(request), queue=the_queue(request, queue_id)))


@router.get(
    "/queues/{queue_id}/progress",
    response={200: QueueProgressOut, 404: Problem},
    auth=curating,
    summary="Where the queue stands",
)
def read_queue_progress(request: HttpRequest, queue_id: int) -> Any:
    return asdict(queue_progress(the_queue(request, queue_id)))


@router.put(
    "/queues/{queue_id}/state", response={200: QueueOut, 404: Problem}, auth=curating, summary="Open, pause, close"
)
def put_queue_state(request: HttpRequest, queue_id: int, body: StateIn) -> ReviewQueue:
    queue = the_queue(request, queue_id)
    set_queue_state(queue=queue, state=body.state)
    return queue


@router.post(
    "/queue-items/{item_id}/judge",
    response={201: JudgeOut, 200: JudgeOut, **REFUSED},
    summary="Judge an item, or revise your judgment",
)
@answered
def post_judgment(request: HttpRequest, item_id: int, body: JudgeIn) -> Any:
    """Saved only when this answers 201 (or 200: it had been saved before). In a blind queue the judge's verdict comes
    with the answer; judge again to revise, or `keep`."""
    done = judge_item(
        item=the_item(request, item_id),
        reviewer=signed_in(request),
        token=body.token,
        said=Said(**body.model_dump(exclude={"token", "idempotency_key", "expected_version"})),
        idempotency_key=body.idempotency_key,
        expected_version=body.expected_version,
    )
    return Status(200 if done.replayed else 201, judge_out(done))


@router.post("/queue-items/{item_id}/keep", response={204: None, **REFUSED}, summary="Stay with your judgment")
@answered
def post_keep(request: HttpRequest, item_id: int) -> Any:
    keep_item(item=the_item(request, item_id), reviewer=signed_in(request))
    return Status(204, None)


@router.post("/queue-items/{item_id}/undo", response={200: JudgeOut, **REFUSED}, summary="Take your judgment back")
@answered
def post_undo(request: HttpRequest, item_id: int, body: UndoIn) -> dict[str, Any]:
    return judge_out(undo_item(item=the_item(request, item_id), reviewer=signed_in(request), **body.model_dump()))


@router.post("/queue-items/{item_id}/skip", response={204: None, **REFUSED}, summary="Pass an item on")
@answered
def post_skip(request: HttpRequest, item_id: int, body: SkipIn) -> Any:
    """It never comes back to you, and nobody holds it against you."""
    skip_item(item=the_item(request, item_id), reviewer=signed_in(request), reason=body.reason, note=body.note)
    return Status(204, None)


@router.post(
    "/queue-items/{item_id}/flag", response={201: FlagOut, **REFUSED}, summary="Key wrong, ambiguous or outdated"
)
@answered
def post_flag(request: HttpRequest, item_id: int, body: FlagIn) -> Any:
    """Sets the question with all its paths aside in every run of the project, until an adjudicator revokes the flag."""
    item, person = the_item(request, item_id), signed_in(request)
    admit(item.queue, person)
    flag = flag_question(
        question=item.question, project=item.queue.project, reviewer=person, item=item, **body.model_dump()
    )
    return Status(201, flag)


@router.post(
    "/queue-items/{item_id}/release",
    response={200: ReleaseOut, **REFUSED},
    auth=curating,
    summary="Take it from who holds it",
)
@answered
def post_release(request: HttpRequest, item_id: int) -> dict[str, int]:
    return {"released": release_item(item=the_item(request, item_id))}


@router.get("/question-flags", response={200: Slice[FlagOut]}, auth=settling, summary="Open flags on questions")
def list_flags(request: HttpRequest, query: Query[PageQuery]) -> dict[str, Any]:
    rows = QuestionFlag.objects.filter(project=project_of(request), state=FlagState.OPEN).select_related("question")
    return slice_by(rows.defer("question__search"), "id", after=query.after, limit=query.limit)


@router.post(
    "/question-flags/{flag_id}/resolve", response={200: FlagOut, **REFUSED}, auth=settling, summary="Uphold or revoke"
)
@answered
def post_resolution(request: HttpRequest, flag_id: int, body: ResolveIn) -> QuestionFlag:
    flags = QuestionFlag.objects.filter(project=project_of(request)).select_related("question", "project")
    flag = get_object_or_404(flags, pk=min(flag_id, 2**63 - 1))
    return resolve_flag(flag=flag, by=signed_in(request), uphold=body.uphold, why=body.why)


@router.get(
    "/runs/{run}/disputed",
    response={200: Slice[DisputedOut], 404: Problem},
    auth=settling,
    summary="Paths to adjudicate",
)
def list_disputed(request: HttpRequest, run: str, query: Query[PageQuery]) -> dict[str, Any]:
    """Reviewers disagree on them; those you judged yourself are left out."""
    rows = disputed_paths(run_named(request, run), signed_in(request))
    return slice_by(rows, "path_id", after=query.after, limit=query.limit)


@router.post(
    "/runs/{run}/paths/{path_id}/adjudicate",
    response={201: AdjudicatedOut, 200: AdjudicatedOut, **REFUSED},
    auth=settling,
    summary="Settle a disagreement",
)
@answered
def post_adjudication(request: HttpRequest, run: str, path_id: int, body: AdjudicateIn) -> Any:
    found = run_named(request, run)
    done = adjudicate(
        run=found,
        path=path_in_run(found, path_id),
        by=signed_in(request),
        said=Said(**body.model_dump(exclude={"idempotency_key", "expected_version"})),
        idempotency_key=body.idempotency_key,
        expected_version=body.expected_version,
    )
    answer = {"verdict": done.verdict, "summary": done.summary, "replayed": done.replayed}
    return Status(200 if done.replayed else 201, answer)


def the_queue(request: HttpRequest, queue_id: int) -> ReviewQueue:
    """A queue that the person may see, or 404."""
    rows = queues_of(project_of(request), signed_in(request)).select_related("run__project", "project")
    return get_object_or_404(rows, pk=min(queue_id, 2**63 - 1))


def the_item(request: HttpRequest, item_id: int) -> QueueItem:
    """An item of such a queue, or 404."""
    item = find_item(project_of(request), signed_in(request), item_id)
    if item is None:
        raise Http404
    return item


def item_out(view: ItemView) -> dict[str, Any]:
    claim, question = view.claim, view.question
    return {
        "id": view.item.pk,
        "queue": view.item.queue_id,
        "position": view.item.position,
        **claim_fields(claim),
        "question": {
            "uid": question.uid,
            "benchmark": question.benchmark.slug,
            "contexts": question.contexts,
            "stem": question.stem,
            "options": [{"letter": letter, "text": text} for letter, text in question.lettered],
            "key": question.key_letter,
            "explanation": question.explanation,
        },
        "path": view.item.path_id,
        "answer": view.answer,
        "sentences": [{"number": s.number, "text": s.text} for s in view.sentences],
        "splitter": view.splitter,
        "reveal": as_dict(view.reveal),
        "mine": view.mine,
    }


def claim_fields(claim: Claim) -> dict[str, Any]:
    return {"token": claim.token, "version": claim.version, "expires_at": claim.expires_at}


def judge_out(done: JudgeResult) -> dict[str, Any]:
    return {
        "item": done.judgment.item_id,
        "version": done.version,
        "summary": done.summary,
        "replayed": done.replayed,
        "judgment": done.judgment,
        "reveal": as_dict(done.reveal),
        "gold": as_dict(done.gold),
    }


def as_dict(found: Reveal | GoldFeedback | None) -> dict[str, Any] | None:
    return asdict(found) if found is not None else None
