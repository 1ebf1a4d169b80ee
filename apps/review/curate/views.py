"""Pages for curators: make a queue, see all of them, see one through."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from apps.questions.access import CURATOR, project_of, role_required
from apps.reasoning.models import Run
from apps.review.curate.forms import QueueForm, field_of, practice_gold, reader_words, takes_questions
from apps.review.curate.plan_words import SECONDS_AN_ITEM, Forecast, forecast, plan_in_words, stored_plan
from apps.review.curate.selectors import (
    LISTED,
    flagged_judgments,
    flags_of,
    gold_agreement,
    held_items,
    queue_rows,
    queues_before,
    strata_of,
)
from apps.review.curate.services import release_expired
from apps.review.models import Claim, ClaimState, QueueState, ReviewQueue, SkipReason
from apps.review.queues.build import build_queue, set_queue_state, settled_gold
from apps.review.queues.claims import release_item
from apps.review.queues.errors import QueueError
from apps.review.queues.plans import PlanError
from apps.review.queues.preview import preview_plan
from apps.review.queues.selectors import FEWEST_PEOPLE, queue_progress

curating = role_required(CURATOR)
ON_PAGE = 25
DONE = {
    QueueState.OPEN: "is open: its items are handed out again.",
    QueueState.PAUSED: "is paused: nothing new is handed out; what is on a screen may still be saved.",
    QueueState.CLOSED: "is closed: it takes no more judgments.",
}


@curating
@require_safe
def queues(request: HttpRequest) -> HttpResponse:
    page = list(queues_before(project_of(request), _number(request.GET.get("before", "")))[: ON_PAGE + 1])
    shown = page[:ON_PAGE]
    context = {"rows": queue_rows(shown), "more": shown[-1].pk if len(page) > ON_PAGE else None}
    return render(request, "review/curate_queues.html", context)


@curating
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def queue_new(request: HttpRequest) -> HttpResponse:
    """The form with its preview (for htmx the preview alone). A POST makes the queue."""
    project, posted = project_of(request), request.method == "POST"
    data = request.POST if posted else request.GET
    runs = Run.objects.filter(project=project).order_by("-pk")
    chosen = runs.filter(name=data["run"]).first() if data.get("run") else runs.first()
    form = QueueForm(data if posted or "kind" in data else None, project=project, making=posted, run=chosen)
    if posted and form.is_valid() and (made := _make(request, form)):
        messages.success(request, f"“{made.name}” is made: {made.size:,} items are waiting to be judged.")
        return redirect("review_queue", made.pk)
    asked = bool(request.headers.get("HX-Request"))
    shown = _preview(form) if form.is_bound and not posted else None
    context = {"form": form, "preview": shown, "seconds": SECONDS_AN_ITEM, "any_run": chosen or runs.exists()}
    context["begun"] = (
        asked and list(form.errors) == ["by"] and not data.getlist("by")
    )  # chosen a moment ago: no mistake yet
    if asked:
        return render(request, "review/curate_preview.html", context)
    return render(request, "review/curate_new.html", context, status=422 if form.is_bound and form.errors else 200)


@curating
@require_safe
def progress(request: HttpRequest, queue_id: int) -> HttpResponse:
    queue = _the_queue(request, queue_id)
    words, text = stored_plan(queue)
    now = queue_progress(queue)
    context = {
        "queue": queue,
        "now": now,
        "reviewers": list(queue.reviewers.order_by("username")),
        "strata": strata_of(queue),
        "held": held_items(queue),
        "flagged": flagged_judgments(queue),
        "flags": flags_of(queue) if now.set_aside else [],
        "gold": gold_agreement(queue),
        "skips": [(SkipReason(code).label, n) for code, n in now.skips.items()],
        "plan_words": words,
        "plan_json": text,
        "listed": LISTED,
        "fewest": FEWEST_PEOPLE,
    }
    return render(request, "review/curate_progress.html", context)


@curating
@require_safe
def queue_close(request: HttpRequest, queue_id: int) -> HttpResponse:
    """Asks before a queue is closed."""
    queue = _the_queue(request, queue_id)
    return render(request, "review/curate_close.html", {"queue": queue, "row": queue_rows([queue])[0]})


@curating
@require_POST
def queue_state(request: HttpRequest, queue_id: int) -> HttpResponse:
    queue = _the_queue(request, queue_id)
    state = request.POST.get("state", "")
    if state not in QueueState.values:
        messages.error(request, "Say whether the queue is to be open, paused or closed.")
    else:
        set_queue_state(queue=queue, state=state)
        messages.success(request, f"“{queue.name}” {DONE[QueueState(state)]}")
    return redirect("review_queue", queue.pk)


@curating
@require_POST
def queue_release(request: HttpRequest, queue_id: int) -> HttpResponse:
    """One item (`claim`) or all that lapsed (`expired`) go back to the queue."""
    queue = _the_queue(request, queue_id)
    if request.POST.get("expired"):
        released = release_expired(queue=queue)
    else:
        live = Claim.objects.filter(
            item__queue=queue, state=ClaimState.LIVE, pk=_number(request.POST.get("claim", "")) or 0
        )
        claim = live.select_related("item", "reviewer").first()
        released = release_item(item=claim.item, reviewer=claim.reviewer) if claim else 0
    if released:
        messages.success(request, f"{released:,} item{'' if released == 1 else 's'} went back to the queue.")
    else:
        messages.warning(request, "Nothing was released: it was judged, passed on or released meanwhile.")
    return redirect("review_queue", queue.pk)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the preview says. `short`: all there is was taken, fewer than asked for; `practice`: the number of settled paths with a reason there are to learn from."""

    words: str
    forecast: Forecast | None = None
    short: bool = False
    practice: int | None = None


def _preview(form: QueueForm) -> Shown | None:
    """None when the plan is not valid; what is wrong stands with its field then."""
    form.is_valid()
    plan, run = form.plan, form.cleaned_data.get("run")
    if plan is None or run is None:
        return None
    try:
        if form.practice:
            return Shown("", practice=len(practice_gold(run, size=plan.size, seed=plan.seed)))
        settled = len(settled_gold(run)) if plan.gold_share else 0
        found = preview_plan(run=run, plan=plan)
        overlap = int(form.cleaned_data.get("overlap") or 1)
        units = found.questions if takes_questions(plan) else found.size
        short = 0 < units < plan.size and plan.kind != "paths"
        return Shown(plan_in_words(plan), forecast(plan, found, settled=settled, overlap=overlap), short)
    except PlanError as error:
        _refuse(form, str(error))
        return None


def _make(request: HttpRequest, form: QueueForm) -> ReviewQueue | None:
    """None when it was refused; why stands with the field."""
    author = request.user if isinstance(request.user, User) else None
    plan = form.plan
    assert plan is not None  # the form is valid
    try:
        return build_queue(run=form.cleaned_data["run"], plan=plan, by=author, **form.settings())
    except PlanError as error:
        _refuse(form, str(error))
    except QueueError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
    except IntegrityError:  # the other half of a double click was a moment faster
        form.add_error("name", "A queue of this name was made this moment: look under all queues.")
    return None


def _refuse(form: QueueForm, problem: str) -> None:
    for line in problem.splitlines():
        form.add_error(field_of(line) or "kind", reader_words(line))


def _the_queue(request: HttpRequest, queue_id: int) -> ReviewQueue:
    found = ReviewQueue.objects.filter(project=project_of(request)).select_related("run__project", "created_by")
    return get_object_or_404(found, pk=min(queue_id, 2**63 - 1))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
