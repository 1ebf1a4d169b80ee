"""API: what leaves. Records accepted, returned, excluded; tier, choice and response set by a person; what became stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Literal

from django.http import Http404, HttpRequest
from ninja import Field, Query, Router, Schema, Status

from apps.questions.api_access import Problem, Slice, curating, judging, reading, signed_in, slice_by
from apps.reasoning.api import PageQuery, RunQuestionOut, path_in_run, question_in_run, run_named
from apps.reasoning.models import Selection, Tier
from apps.review.api import PreviewOut
from apps.review.api_answers import REFUSED, SaidIn, WhyIn, answered, row_named
from apps.review.models_records import Again, RecordDecision
from apps.review.records import decisions, overrides, rewriting
from apps.review.records.decisions import Record, read_record
from apps.review.records.overrides import MOST_CHARACTERS
from apps.review.records.saving import Saved
from apps.review.records.stale import MOST_FORESEEN, Work, confirm_all, foresee, stale_questions, together
from apps.review.services import confirm_remake

router = Router(tags=["records"], auth=judging)
MOST_CONFIRMED = 500  # questions named in one request


class DecisionOut(Schema):
    decision: str = Field(description="accepted, returned, excluded or withdrawn")
    again: str = Field(description="Of a returned record: what is made again, response or path")
    reason: str
    by: str = Field(alias="by.username")
    content_hash: str
    created_at: Any


class RecordOut(Schema):
    slot: int
    path: int
    why: str = Field(description="Why this path is kept")
    response: str | None = Field(description="None while it is to be made")
    revision: int | None
    content_hash: str = Field(description="Send it with an acceptance; empty while the record is not whole")
    standing: str = Field(description="accepted, void (it changed since), returned, made_again, excluded, or empty")
    decision: DecisionOut | None


class AcceptIn(SaidIn):
    content_hash: str = Field(
        min_length=1, max_length=64, description="Of the record as you read it; 409 if it changed"
    )
    expected_version: None = None


class ReturnIn(WhyIn):
    again: Again
    axes: dict[Literal["correctness", "coherence", "factuality"], bool] | None = Field(
        None, description="For `again: path`: the Error verdict that its path gets"
    )


class WithdrawIn(SaidIn):
    reason: str = Field("", max_length=4_000)


class DecidedOut(Schema):
    decision: DecisionOut
    question: RunQuestionOut
    summary: str
    replayed: bool = Field(description="This request had been saved before; nothing was written")


class TierTarget(Schema):
    tier: Tier | Literal[""] = Field(description="Empty gives it back to the error count")


class TierIn(TierTarget, WhyIn):
    pass


class ChoiceTarget(Schema):
    paths: list[int] = Field(max_length=10, description="In the order of the places; none gives it back to the ranker")


class ChoiceIn(ChoiceTarget, WhyIn):
    pass


class ResponseTarget(Schema):
    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)


class ResponseIn(ResponseTarget, WhyIn):
    pass


class PathTarget(Schema):
    text: str = Field(min_length=1, max_length=rewriting.MOST_CHARACTERS)


class PathIn(PathTarget, WhyIn):
    pass


class OverriddenOut(Schema):
    id: int
    question: RunQuestionOut
    summary: str
    replayed: bool


class WorkOut(Schema):
    questions: int
    now: dict[str, int] = Field(description="Calls wanted at once, by stage")
    then: dict[str, int] = Field(description="Calls that follow if each of them passes the first time")
    cost: Decimal = Field(description="Expected, in the run's currency")


class EstimateOut(WorkOut):
    more: bool = Field(description=f"More than {MOST_FORESEEN:,} questions wait; only so many are reckoned")


class StaleOut(WorkOut):
    question: str
    version: int


class ConfirmIn(Schema):
    """What to make again: questions by uid, or everything that is stale."""

    questions: list[str] = Field([], max_length=MOST_CONFIRMED)
    all: bool = False


class ConfirmedOut(Schema):
    confirmed: int = Field(description="Questions that were on hold and are not any more")


RECORD = "/runs/{run}/questions/{uid}/records/{slot}"
SAVED: dict[Any, Any] = {201: DecidedOut, 200: DecidedOut, **REFUSED}
OVERRIDDEN: dict[Any, Any] = {201: OverriddenOut, 200: OverriddenOut, **REFUSED}
PREVIEWED: dict[Any, Any] = {200: PreviewOut, **REFUSED}


@router.get(
    "/runs/{run}/questions/{uid}/records",
    response={200: list[RecordOut], 404: Problem},
    auth=reading,
    summary="What leaves for a question, and what was decided about it",
)
def list_records(request: HttpRequest, run: str, uid: str) -> list[dict[str, Any]]:
    row = row_named(request, run, uid)
    slots = Selection.objects.filter(run=row.run_id, question=row.question_id, current=True, path__isnull=False)
    found = [read_record(row.run, row.question, slot) for slot in slots.order_by("slot").values_list("slot", flat=True)]
    return [_record_out(record) for record in found if record]


@router.get(RECORD, response={200: RecordOut, 404: Problem}, auth=reading, summary="One record")
def get_record(request: HttpRequest, run: str, uid: str, slot: int) -> dict[str, Any]:
    row = row_named(request, run, uid)
    record = read_record(row.run, row.question, min(max(slot, 0), 2**15 - 1))
    if record is None:
        raise Http404
    return _record_out(record)


@router.post(f"{RECORD}/accept", response=SAVED, summary="Accept a record as it was read")
@answered
def post_acceptance(request: HttpRequest, run: str, uid: str, slot: int, body: AcceptIn) -> Any:
    return _decided(
        decisions.accept_record(
            **_target(request, run, uid, slot), seen_hash=body.content_hash, idempotency_key=body.idempotency_key
        )
    )


@router.get(f"{RECORD}/return", response=PREVIEWED, summary="What a return would change")
@answered
def read_return(request: HttpRequest, run: str, uid: str, slot: int, again: Again = Again.RESPONSE) -> Any:
    return decisions.preview_return(**_target(request, run, uid, slot), again=again)


@router.post(f"{RECORD}/return", response=SAVED, summary="Send a record back")
@answered
def post_return(request: HttpRequest, run: str, uid: str, slot: int, body: ReturnIn) -> Any:
    """Its response is made again, or its path gets an Error verdict. Nothing is made before a curator confirms; the
    model that writes it again reads the reason."""
    return _decided(decisions.return_record(**_target(request, run, uid, slot), **body.model_dump()))


@router.get(f"{RECORD}/exclude", response=PREVIEWED, summary="What an exclusion would change")
@answered
def read_exclusion(request: HttpRequest, run: str, uid: str, slot: int) -> Any:
    target = _target(request, run, uid, slot)
    target.pop("by")
    return decisions.preview_exclusion(**target, excluded=True)


@router.post(f"{RECORD}/exclude", response=SAVED, summary="Keep a record out of every export")
@answered
def post_exclusion(request: HttpRequest, run: str, uid: str, slot: int, body: WhyIn) -> Any:
    return _decided(decisions.exclude_record(**_target(request, run, uid, slot), **body.model_dump()))


@router.post(f"{RECORD}/withdraw", response=SAVED, summary="Take an acceptance or an exclusion back")
@answered
def post_withdrawal(request: HttpRequest, run: str, uid: str, slot: int, body: WithdrawIn) -> Any:
    return _decided(decisions.withdraw_decision(**_target(request, run, uid, slot), **body.model_dump()))


@router.post("/runs/{run}/questions/{uid}/tier/preview", response=PREVIEWED, summary="What a tier would change")
@answered
def preview_tier(request: HttpRequest, run: str, uid: str, body: TierTarget) -> Any:
    row = row_named(request, run, uid)
    return overrides.preview_tier(run=row.run, question=row.question, tier=body.tier)


@router.post("/runs/{run}/questions/{uid}/tier", response=OVERRIDDEN, summary="Set a question's tier")
@answered
def post_tier(request: HttpRequest, run: str, uid: str, body: TierIn) -> Any:
    row = row_named(request, run, uid)
    return _overridden(
        overrides.override_tier(run=row.run, question=row.question, by=signed_in(request), **body.model_dump())
    )


@router.post("/runs/{run}/questions/{uid}/choice/preview", response=PREVIEWED, summary="What a choice would change")
@answered
def preview_choice(request: HttpRequest, run: str, uid: str, body: ChoiceTarget) -> Any:
    row = row_named(request, run, uid)
    return overrides.preview_choice(run=row.run, question=row.question, paths=body.paths)


@router.post("/runs/{run}/questions/{uid}/choice", response=OVERRIDDEN, summary="Choose the paths that are kept")
@answered
def post_choice(request: HttpRequest, run: str, uid: str, body: ChoiceIn) -> Any:
    row = row_named(request, run, uid)
    return _overridden(
        overrides.override_choice(run=row.run, question=row.question, by=signed_in(request), **body.model_dump())
    )


@router.post("/runs/{run}/paths/{path_id}/response/preview", response=PREVIEWED, summary="What a response would change")
@answered
def preview_response(request: HttpRequest, run: str, path_id: int, body: ResponseTarget) -> Any:
    found = run_named(request, run)
    return overrides.preview_response(run=found, path=path_in_run(found, path_id), text=body.text)


@router.post("/runs/{run}/paths/{path_id}/response", response=OVERRIDDEN, summary="Write a kept path's response")
@answered
def post_response(request: HttpRequest, run: str, path_id: int, body: ResponseIn) -> Any:
    """The next revision; the one before stays readable. It must end with the key."""
    found = run_named(request, run)
    path = path_in_run(found, path_id)
    return _overridden(overrides.override_response(run=found, path=path, by=signed_in(request), **body.model_dump()))


@router.post("/runs/{run}/paths/{path_id}/text/preview", response=PREVIEWED, summary="What a path would change")
@answered
def preview_path(request: HttpRequest, run: str, path_id: int, body: PathTarget) -> Any:
    found = run_named(request, run)
    return rewriting.preview_rewriting(run=found, path=path_in_run(found, path_id), text=body.text)


@router.post("/runs/{run}/paths/{path_id}/text", response=OVERRIDDEN, summary="Write a kept, rewritten path")
@answered
def post_path(request: HttpRequest, run: str, path_id: int, body: PathIn) -> Any:
    """The next revision; the one before stays readable. The judge reads it before it leaves."""
    found = run_named(request, run)
    path = path_in_run(found, path_id)
    return _overridden(rewriting.override_path(run=found, path=path, by=signed_in(request), **body.model_dump()))


@router.get("/runs/{run}/stale", response={200: Slice[StaleOut], 404: Problem}, summary="Questions with stale outputs")
def list_stale(request: HttpRequest, run: str, query: Query[PageQuery]) -> dict[str, Any]:
    found = run_named(request, run)
    rows = stale_questions(found).select_related("question").defer("question__search", "question__explanation")
    page = slice_by(rows, "question_id", after=query.after, limit=query.limit)
    work = foresee(found, [row.question_id for row in page["items"]])
    items = [
        {"question": row.question.uid, "version": row.version, **_work_out(work[row.question_id])}
        for row in page["items"]
    ]
    return {"items": items, "next": page["next"]}


@router.get(
    "/runs/{run}/stale/estimate", response={200: EstimateOut, 404: Problem}, summary="What making all again takes"
)
def read_stale_estimate(request: HttpRequest, run: str) -> dict[str, Any]:
    found = run_named(request, run)
    rows = stale_questions(found).order_by("question_id")
    ids = list(rows.values_list("question_id", flat=True)[: MOST_FORESEEN + 1])
    return {**_work_out(together(foresee(found, ids[:MOST_FORESEEN]).values())), "more": len(ids) > MOST_FORESEEN}


@router.post(
    "/runs/{run}/stale/confirm",
    response={200: ConfirmedOut, **REFUSED},
    auth=curating,
    summary="Make stale outputs again",
)
@answered
def post_confirmation(request: HttpRequest, run: str, body: ConfirmIn) -> Any:
    """Confirming twice confirms once: the second answer says 0."""
    found, person = run_named(request, run), signed_in(request)
    if body.all == bool(body.questions):
        return Status(422, {"detail": "Name the questions, or say all.", "field": "questions"})
    if body.all:
        return {"confirmed": confirm_all(run=found, by=person)}
    rows = stale_questions(found).filter(question__uid__in=[uid.replace("\x00", "") for uid in body.questions])
    ids: Sequence[int] = list(rows.order_by("question_id").values_list("question_id", flat=True))
    return {"confirmed": confirm_remake(run=found, question_ids=ids, by=person) if ids else 0}


def _target(request: HttpRequest, run: str, uid: str, slot: int) -> dict[str, Any]:
    """Of the record's services; 404 where the question keeps no such record."""
    row = row_named(request, run, uid)
    slot = min(max(slot, 0), 2**15 - 1)
    if read_record(row.run, row.question, slot) is None:
        raise Http404
    return {"run": row.run, "question": row.question, "slot": slot, "by": signed_in(request)}


def _record_out(record: Record) -> dict[str, Any]:
    response = record.response
    return {
        "slot": record.selection.slot,
        "path": record.path.pk,
        "why": record.selection.why,
        "response": response.text if response else None,
        "revision": response.revision if response else None,
        "content_hash": record.hash,
        "standing": record.standing,
        "decision": record.decision,
    }


def _decided(saved: Saved[RecordDecision]) -> Status[Any]:
    return Status(200 if saved.replayed else 201, {"decision": saved.made, **_followed(saved)})


def _overridden(saved: Saved[Any]) -> Status[Any]:
    return Status(200 if saved.replayed else 201, {"id": saved.made.pk, **_followed(saved)})


def _followed(saved: Saved[Any]) -> dict[str, Any]:
    question = question_in_run(saved.row.run, saved.row.question.uid)
    return {"question": question, "summary": saved.summary, "replayed": saved.replayed}


def _work_out(work: Work) -> dict[str, Any]:
    return asdict(work)
