"""Practice on the review screen: the same form and the same script; answers are compared, never saved."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.questions.access import project_of
from apps.review.practice.items import PracticeItem, compare, practice_items, view_practice
from apps.review.practice.services import finish_practice
from apps.review.queues.errors import QueueError
from apps.review.queues.said import check_said
from apps.review.screen.context import item_context
from apps.review.screen.forms import number as number_of
from apps.review.screen.forms import read_said
from apps.review.screen.settings import settings_of
from apps.review.screen.views import fragment, judging, the_person

HANDLE = "practice-"  # before an item's number, where pages name the item


@judging
@never_cache
@require_safe
def practice(request: HttpRequest) -> HttpResponse:
    """The first item. `after`: for scripts, the one behind the item on the screen; nothing behind the last."""
    number = 1 + number_of(request.GET.get("after", "").removeprefix(HANDLE))
    if number > len(practice_items()):
        return HttpResponse(status=204)
    return show(request, the_item(request, number))


@judging
@never_cache
@require_safe
def item(request: HttpRequest, number: int) -> HttpResponse:
    return show(request, the_item(request, number))


@judging
@require_POST
def judge(request: HttpRequest, number: int) -> HttpResponse:
    """What is known of the item beside what was said; 422 for what a real item would refuse."""
    found = the_item(request, number)
    try:
        said = check_said(read_said(request.POST), text=found.path)
    except QueueError as error:
        return show(request, found, status=422, problem=str(error))
    return show(request, found, said=said, compared=compare(found, said))


@judging
@require_POST
def go_on(request: HttpRequest, number: int) -> HttpResponse:
    """To the next item; after the last one home, where practice is no longer the first thing."""
    last = the_item(request, number).number == len(practice_items())
    if last:
        finish_practice(person=the_person(request))
    address = reverse("review_home") if last else reverse("practice_item", args=(number + 1,))
    if not fragment(request):
        return redirect(address)
    return (
        HttpResponse(headers={"X-Go-To": address}) if last else show(request, the_item(request, number + 1), anew=True)
    )


@judging
@require_POST
def skip(request: HttpRequest) -> HttpResponse:
    project_of(request)
    finish_practice(person=the_person(request))
    return redirect("review_home")


def show(
    request: HttpRequest, found: PracticeItem, *, status: int = 200, anew: bool = False, **more: Any
) -> HttpResponse:
    """The item to judge, or with `compared` what is known of it. `anew`: what was sent is of another item."""
    person = the_person(request)
    sent = request.POST if request.method == "POST" and not anew else None
    told = "compared" in more
    context = item_context(view_practice(found, revealed=told), person, sent, known=found.wrong if told else ())
    context |= {"practice": found, "handle": f"{HANDLE}{found.number}", "length": len(practice_items()), **more}
    inside = "review/practice_after.html" if told else "review/practice_body.html"
    if fragment(request):
        return render(request, inside, context, status=status)
    context |= {"inside": inside, "settings": settings_of(person)}
    return render(request, "review/practice.html", context, status=status)


def the_item(request: HttpRequest, number: int) -> PracticeItem:
    """404 as well for a person of no project, as everywhere."""
    project_of(request)
    if not 1 <= number <= len(practice_items()):
        raise Http404("There is no such practice item.")
    return practice_items()[number - 1]
