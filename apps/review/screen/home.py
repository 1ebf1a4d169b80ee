"""Where a sitting begins: what waits, what one did, and one button that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.questions.access import project_of, roles_of
from apps.review.models import QueueState, ReviewQueue, ReviewSettings
from apps.review.queues.claims import claim_next, free_in
from apps.review.queues.selectors import Tally, my_progress, queues_of, resumable, tallies_of
from apps.review.screen.sitting import LENGTH, current_sitting
from apps.review.screen.views import judging, the_person

SHOWN = 50  # queues, the newest


@judging
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    project, person = project_of(request), the_person(request)
    queues = list(queues_of(project, person)[: SHOWN + 1])
    rows = rows_of(queues[:SHOWN], person)
    sitting, mine = current_sitting(project, person), my_progress(person, project=project)
    going_on = resumable(project, person)
    practised = ReviewSettings.objects.filter(user=person, practised_at__isnull=False).exists()
    context = {
        "rows": rows,
        "more": len(queues) > SHOWN,
        "mine": mine,
        "sitting": sitting,
        "left": LENGTH - sitting.done % LENGTH,
        "going_on": going_on,
        "anything": going_on is not None or any(row.state == "free" for row in rows),
        "new_here": not (practised or mine.judged or going_on),
    }
    return render(request, "review/home.html", context)


@judging
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """To the item left open, else to the first queue that has one for this person."""
    project, person = project_of(request), the_person(request)
    if open_item := resumable(project, person):
        return redirect("review_work", open_item.item.queue_id)
    for row in rows_of(list(queues_of(project, person).filter(state=QueueState.OPEN)), person):
        if row.state == "free" and claim_next(queue=row.queue, reviewer=person, prefetch=1):
            return redirect("review_work", row.queue.pk)
    return redirect("review_home")


@dataclass(frozen=True, slots=True)
class Row:
    """A queue as it is to one person. `state`: free (there is something to judge), nothing (all of it is judged, by
    them or others, or is with others now), done, empty, paused, closed, others (not theirs to judge)."""

    queue: ReviewQueue
    tally: Tally
    state: str


def rows_of(queues: Sequence[ReviewQueue], person: User) -> list[Row]:
    """In three statements, however many queues; none of them counts items (`tallies_of`, `free_in`)."""
    tallies, free = tallies_of(queues), free_in(queues, person)
    named = ReviewQueue.reviewers.through.objects.filter(user=person, reviewqueue__in=queues)
    theirs, roles = set(named.values_list("reviewqueue_id", flat=True)), roles_of(person)

    def state(queue: ReviewQueue) -> str:
        if queue.state != QueueState.OPEN:
            return str(queue.state)
        if queue.role not in roles and queue.pk not in theirs:
            return "others"
        if queue.pk in free:
            return "free"
        tally = tallies[queue.pk]
        if tally.finished + tally.set_aside >= queue.size:
            return "done" if queue.size else "empty"
        return "nothing"

    return [Row(queue, tallies[queue.pk], state(queue)) for queue in queues]
