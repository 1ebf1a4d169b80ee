"""Pages of the review screen. Scripts ask with `X-Fragment` and get the inside of #item; without script it all works too."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR, project_of, role_required
from apps.review.models import Claim, ClaimState, Judgment, QueueItem, QueueState, ReviewQueue
from apps.review.queues.claims import admit, claim_next, heartbeat, skip_item, why_empty
from apps.review.queues.errors import ItemChanged, ItemLost, NotAdmitted, QueueError
from apps.review.queues.flags import flag_question
from apps.review.queues.judging import JudgeResult, judge_item, keep_item, undo_item, undo_last
from apps.review.queues.selectors import (
    find_item,
    queues_of,
    view_item,
)
from apps.review.screen.context import change_said, effects, item_context, sides
from apps.review.screen.forms import number, read_said
from apps.review.screen.settings import settings_of
from apps.review.screen.sitting import LENGTH, current_sitting, sum_up
from apps.review.services import OverrideError

judging = role_required(CLINICIAN, CURATOR, ADJUDICATOR)


@judging
@require_safe
def sitting_end(request: HttpRequest) -> HttpResponse:
    sitting = current_sitting(project_of(request), the_person(request))
    return render(request, "review/sitting.html", {"sitting": sitting, "sum": sum_up(sitting)})


@judging
@never_cache
@require_safe
def work(request: HttpRequest, queue_id: int) -> HttpResponse:
    """The next item. `after`: for scripts, the one behind the item on the screen, fetched while that is judged."""
    queue, person = the_queue(request, queue_id), the_person(request)
    try:
        claims = claim_next(queue=queue, reviewer=person, prefetch=1)
    except NotAdmitted as error:
        return render(request, "review/queue_empty.html", {"queue": queue, "why": str(error)}, status=403)
    if held := number(request.GET.get("after", "")):
        claims = [claim for claim in claims if claim.item_id != held]
    return show(request, queue, claims[0] if claims else None)


@judging
@require_safe
@never_cache
def item(request: HttpRequest, item_id: int) -> HttpResponse:
    """An item of one's own: to judge while it is open, else what was said of it, to keep, revise or undo."""
    row = the_item(request, item_id)
    claim = get_object_or_404(Claim, item=row, reviewer=the_person(request))
    if claim.state in (ClaimState.SKIPPED, ClaimState.RELEASED):
        return redirect("review_work", row.queue_id)
    return show(request, row.queue, claim)


@judging
@require_POST
def judge(request: HttpRequest, item_id: int) -> HttpResponse:
    """Saved: what the judge said. Not valid: 422. Changed in another window, or lost: 409 with both sides."""
    row, person = the_item(request, item_id), the_person(request)
    version = request.POST.get("version", "")
    try:
        done = judge_item(
            item=row,
            reviewer=person,
            token=request.POST.get("token", ""),
            said=read_said(request.POST),
            idempotency_key=request.POST.get("idempotency_key", ""),
            expected_version=number(version) if version else None,
        )
    except ItemChanged as error:
        return show(request, row.queue, error.claim, status=409, problem=str(error), theirs=error.current)
    except ItemLost as error:
        return lost(request, row.queue, str(error))
    except NotAdmitted as error:
        return lost(request, row.queue, str(error), status=403)
    except QueueError as error:
        claim = Claim.objects.filter(item=row, reviewer=person).first()
        if claim is None or row.queue.state == QueueState.CLOSED:
            return lost(request, row.queue, str(error), status=422)
        return show(request, row.queue, claim, status=422, problem=str(error), field=error.field)
    if not fragment(request):
        return redirect("review_item", row.pk)
    return show(request, row.queue, done.claim, item=row, saved=done)


@judging
@require_POST
def keep(request: HttpRequest, item_id: int) -> HttpResponse:
    row = the_item(request, item_id)
    try:
        keep_item(item=row, reviewer=the_person(request))
    except (QueueError, ItemLost, OverrideError) as error:
        return lost(request, row.queue, str(error))
    if fragment(request) and request.POST.get("has_next"):  # the next item is on the screen already
        return HttpResponse(status=204)
    return go_on(request, row.queue)


@judging
@require_POST
def undo(request: HttpRequest, item_id: int) -> HttpResponse:
    row = the_item(request, item_id)
    try:
        key = request.POST.get("idempotency_key", "")
        undo_item(item=row, reviewer=the_person(request), idempotency_key=key)
    except (QueueError, ItemLost, OverrideError) as error:
        return lost(request, row.queue, str(error))
    return redirect("review_item", row.pk)


@judging
@require_POST
def undo_latest(request: HttpRequest, queue_id: int) -> HttpResponse:
    queue = the_queue(request, queue_id)
    try:
        key = request.POST.get("idempotency_key", "")
        done = undo_last(queue_id=queue.pk, reviewer=the_person(request), idempotency_key=key)
    except (QueueError, ItemLost, OverrideError) as error:
        return lost(request, queue, str(error))
    return redirect("review_item", done.claim.item_id)


@judging
@require_POST
def skip(request: HttpRequest, item_id: int) -> HttpResponse:
    row = the_item(request, item_id)
    try:
        skip_item(item=row, reviewer=the_person(request), reason=request.POST.get("reason", ""))
    except (QueueError, ItemLost, OverrideError) as error:
        return lost(request, row.queue, str(error))
    return go_on(request, row.queue)


@judging
@require_POST
def flag(request: HttpRequest, item_id: int) -> HttpResponse:
    """The question is not sound: it is set aside with all its paths."""
    row, person = the_item(request, item_id), the_person(request)
    try:
        admit(row.queue, person)
        flag_question(
            question=row.question,
            project=row.queue.project,
            reviewer=person,
            kind=request.POST.get("kind", ""),
            note=request.POST.get("note", ""),
            item=row,
            idempotency_key=request.POST.get("idempotency_key") or None,
        )
    except (QueueError, OverrideError) as error:
        return lost(request, row.queue, str(error))
    return go_on(request, row.queue)


@judging
@require_POST
def alive(request: HttpRequest, queue_id: int) -> HttpResponse:
    """Sent once a minute by a page that someone looks at."""
    held = heartbeat(queue=the_queue(request, queue_id), reviewer=the_person(request))
    return JsonResponse({"held": held})


def show(
    request: HttpRequest,
    queue: ReviewQueue,
    claim: Claim | None,
    *,
    item: QueueItem | None = None,
    saved: JudgeResult | None = None,
    status: int = 200,
    theirs: Judgment | None = None,
    **more: Any,
) -> HttpResponse:
    """The item to judge, or what was said of it; without a claim, why there is none."""
    person, project = the_person(request), queue.project
    sitting = more.pop("sitting", None) or current_sitting(project, person)
    context: dict[str, Any] = {"queue": queue, "sitting": sitting, "length": LENGTH, **more}
    ahead = bool(request.GET.get("after"))  # it will be on the screen once the one before it is judged
    context["done"] = context["sitting"].done % LENGTH + ahead
    if claim is None:
        inside, context["why"] = "review/queue_empty_body.html", str(why_empty(queue, person))
    else:
        view = view_item(claim, item, done=saved)
        revising = request.GET.get("revise") or status != 200
        judged = claim.state == ClaimState.JUDGED and not revising
        context |= item_context(view, person, request.POST if request.method == "POST" and not judged else None)
        if judged:
            inside, context["summary"] = "review/after_body.html", change_said(view, person)
        else:
            inside, context["effects"] = "review/item_body.html", effects(view, person)
        if theirs:
            context["sides"] = sides(view, theirs, request.POST)
    if fragment(request):
        return render(request, inside, context, status=status)
    context |= {"inside": inside, "settings": settings_of(person)}
    return render(request, "review/item.html", context, status=status)


def go_on(request: HttpRequest, queue: ReviewQueue) -> HttpResponse:
    """To the next item, or to the end of the sitting."""
    person = the_person(request)
    sitting = current_sitting(queue.project, person)
    if sitting.over:
        address = reverse("review_sitting")
        return HttpResponse(headers={"X-Go-To": address}) if fragment(request) else redirect(address)
    if not fragment(request):
        return redirect("review_work", queue.pk)
    claims = claim_next(queue=queue, reviewer=person, prefetch=1)
    return show(request, queue, claims[0] if claims else None, sitting=sitting)


def lost(request: HttpRequest, queue: ReviewQueue, why: str, *, status: int = 409) -> HttpResponse:
    """What cannot be done any more, with what the person sent, so that nothing they wrote is gone."""
    context = {"queue": queue, "why": why, "refused": True, "said": request.POST.get("comment", "")}
    page = "review/queue_empty_body.html" if fragment(request) else "review/queue_empty.html"
    return render(request, page, context, status=status)


def fragment(request: HttpRequest) -> bool:
    return bool(request.headers.get("X-Fragment"))


def the_person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def the_queue(request: HttpRequest, queue_id: int) -> ReviewQueue:
    queues = queues_of(project_of(request), the_person(request)).select_related("run__project", "project")
    return get_object_or_404(queues, pk=queue_id)


def the_item(request: HttpRequest, item_id: int) -> QueueItem:
    found = find_item(project_of(request), the_person(request), item_id)
    if found is None:
        raise Http404("No such item.")
    return found
