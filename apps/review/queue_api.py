"""API: queues of paths to judge. Claim the next item, judge it, keep or revise, undo, skip, flag; settle disagreements."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Status

from apps.questions.access import ADJUDICATOR, project_of
from apps.questions.api_access import Problem, RoleAuth, Slice, curating, judging, signed_in, slice_by
from apps.reasoning.api import PageQuery, path_in_run, run_named
from apps.review.api_answers import answered
from apps.review.models import (
    Claim,
    FlagState,
    QuestionFlag,
    QueueItem,
    ReviewQueue,
)
from apps.review.queue_schemas import (
    AdjudicatedOut,
    AdjudicateIn,
    BothSides,
    ClaimIn,
    ClaimOut,
    DisputedOut,
    FlagIn,
    FlagOut,
    HeartbeatOut,
    JudgeIn,
    JudgeOut,
    MyProgressOut,
    QueueOut,
    QueueProgressOut,
    ReleaseOut,
    ResolveIn,
    SkipIn,
    StateIn,
    UndoIn,
    UndoLastIn,
)
from apps.review.queues.adjudication import adjudicate, disputed_paths
from apps.review.queues.build import set_queue_state
from apps.review.queues.claims import HEARTBEAT_S, admit, claim_next, heartbeat, release_item, skip_item, why_empty
from apps.review.queues.flags import flag_question, resolve_flag
from apps.review.queues.judging import JudgeResult, judge_item, keep_item, undo_item, undo_last
from apps.review.queues.reveal import GoldFeedback, Reveal
from apps.review.queues.said import Said
from apps.review.queues.selectors import ItemView, find_item, my_progress, queue_progress, queues_of, view_item
from apps.review.screen.context import change_said

settling = RoleAuth(ADJUDICATOR)
router = Router(tags=["queues"], auth=judging)


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
        "summary": change_said(view_item(done.claim, done=done), done.judgment.reviewer) or done.summary,
        "replayed": done.replayed,
        "judgment": done.judgment,
        "reveal": as_dict(done.reveal),
        "gold": as_dict(done.gold),
    }


def as_dict(found: Reveal | GoldFeedback | None) -> dict[str, Any] | None:
    return asdict(found) if found is not None else None
