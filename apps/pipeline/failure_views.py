"""What went wrong in a run, and having it tried again."""

from __future__ import annotations

from typing import Literal

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.pipeline.failure_words import words_of
from apps.pipeline.failures import Kind, Place, add_samples, groups_aside, groups_of_attempts, read_samples
from apps.pipeline.retries import Selection, preview_retry, refuse_cancelled, retry_failures
from apps.pipeline.services import RunError
from apps.questions.access import CLINICIAN, CURATOR, project_of, role_required
from apps.reasoning.models import Run, RunState

LARGEST_ID = 2**63 - 1


@role_required(CLINICIAN, CURATOR)
@require_safe
def failures(request: HttpRequest, run_id: int) -> HttpResponse:
    """Outputs set aside and attempts that failed, in groups; `class` in the address keeps one class."""
    run = run_of(request, run_id)
    wanted = text_in(request.GET, "class")
    aside, attempts = (
        [group for group in groups if wanted in ("", group.place.error_class)]
        for groups in (groups_aside(run), groups_of_attempts(run))
    )
    add_samples(run, "aside", aside)
    add_samples(run, "attempts", attempts)
    context = {
        "run": run,
        "class": wanted,
        "wanted": wanted and words_of(wanted).word,
        "aside": aside,
        "attempts": attempts,
        "set_aside": sum(group.count for group in aside),
        "failed": sum(group.count for group in attempts),
    }
    return render(request, "pipeline/failures.html", context)


@role_required(CLINICIAN, CURATOR)
@require_safe
def failure_group(request: HttpRequest, run_id: int, kind: Literal["aside", "attempts"]) -> HttpResponse:
    """One group, newest first; `before` is the cursor of a further page."""
    run = run_of(request, run_id)
    place = Place(*(text_in(request.GET, name) for name in ("stage", "endpoint", "class")))
    found: Kind = kind
    page = read_samples(run, found, place, before=text_in(request.GET, "before"))
    context = {"run": run, "kind": kind, "place": place, "page": page, "paged": "before" in request.GET}
    return render(request, "pipeline/failure_group.html", context)


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
def failures_retry(request: HttpRequest, run_id: int) -> HttpResponse:
    """Reading it tells what a retry touches and may cost; posting it does what was read, and no more (`up_to`)."""
    run = run_of(request, run_id)
    said = request.POST if request.method == "POST" else request.GET
    chosen = selection(said)
    if request.method == "POST":
        return retry(request, run, chosen)
    try:
        refuse_cancelled(run)
    except RunError as error:
        messages.error(request, str(error))
        return redirect("failures", run.pk)
    context = {"run": run, "chosen": chosen, "preview": preview_retry(run, chosen)}
    return render(request, "pipeline/failures_retry.html", context)


def retry(request: HttpRequest, run: Run, chosen: Selection) -> HttpResponse:
    assert isinstance(request.user, User)
    try:
        done = retry_failures(run=run, by=request.user, **chosen.as_arguments())
    except RunError as error:
        messages.error(request, str(error))
        return redirect("failures", run.pk)
    run.refresh_from_db()
    asleep = ". Nothing is sent before the run is resumed" if run.state == RunState.PAUSED else ""
    messages.success(request, f"{done}{asleep}.")
    return redirect("failures", run.pk)


def run_of(request: HttpRequest, run_id: int) -> Run:
    return get_object_or_404(project_of(request).runs, pk=run_id)


def selection(said: QueryDict) -> Selection:
    """What an address or form names; an id that is none matches nothing."""
    return Selection(
        stage=text_in(said, "stage"),
        endpoint=text_in(said, "endpoint"),
        error_class=text_in(said, "class"),
        failure_ids=tuple(number(raw) for raw in said.getlist("failure")),
        up_to=number(text_in(said, "up_to")) if "up_to" in said else None,
    )


def text_in(said: QueryDict, name: str) -> str:
    return said.get(name, "").replace("\x00", "")


def number(raw: str) -> int:
    return min(int(raw[:19]), LARGEST_ID) if raw.isascii() and raw.isdigit() else 0
