"""Where a sitting begins: what waits, what one did, and one button that goes on."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.questions.access import project_of
from apps.review.models import QueueState
from apps.review.queues.claims import claim_next, why_empty
from apps.review.queues.selectors import my_progress, queues_of, resumable, tallies_of
from apps.review.screen.sitting import LENGTH, current_sitting
from apps.review.screen.views import judging, the_person


@judging
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    project, person = project_of(request), the_person(request)
    queues = list(queues_of(project, person)[:50])
    tallies = tallies_of(queues)
    rows = [(queue, tallies[queue.pk], why_empty(queue, person)) for queue in queues]
    sitting = current_sitting(project, person)
    context = {
        "rows": rows,
        "mine": my_progress(person, project=project),
        "sitting": sitting,
        "left": LENGTH - sitting.done % LENGTH,
        "going_on": resumable(project, person),
    }
    return render(request, "review/home.html", context)


@judging
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """To the item left open, else to the first queue that has one for this person."""
    project, person = project_of(request), the_person(request)
    if open_item := resumable(project, person):
        return redirect("review_work", open_item.item.queue_id)
    for queue in queues_of(project, person).filter(state=QueueState.OPEN):
        if queue.admits(person) and claim_next(queue=queue, reviewer=person, prefetch=1):
            return redirect("review_work", queue.pk)
    return redirect("review_home")
