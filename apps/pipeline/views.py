"""The overview of a run, the list of runs, and what a curator may do to them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HTMX_STOP_POLLING

from apps.pipeline.overview import overview_of, run_rows
from apps.questions.access import CLINICIAN, CURATOR, project_of, role_required
from apps.reasoning.models import Run

RUNS_ON_OVERVIEW = 8
RUNS_ON_PAGE = 50


@role_required(CLINICIAN, CURATOR)
@require_safe
@vary_on_headers("HX-Request")
def overview(request: HttpRequest) -> HttpResponse:
    """The run that was created last; with none, what to do first."""
    latest = project_of(request).runs.select_related("paths_from", "created_by").first()
    return show_run(request, latest) if latest else render(request, "pipeline/overview_empty.html")


@role_required(CLINICIAN, CURATOR)
@require_safe
@vary_on_headers("HX-Request")
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    runs = project_of(request).runs.select_related("paths_from", "created_by")
    return show_run(request, get_object_or_404(runs, pk=run_id))


def show_run(request: HttpRequest, run: Run) -> HttpResponse:
    """The page, or for htmx its live part; status 286 ends the polling once the run has ended."""
    now = overview_of(run)
    if request.headers.get("HX-Request"):
        status = 200 if now.polls else HTMX_STOP_POLLING
        return render(request, "pipeline/_live.html", {"now": now, "run": run, "swapped": True}, status=status)
    others = run.project.runs.select_related("paths_from")[:RUNS_ON_OVERVIEW]
    return render(request, "pipeline/overview.html", {"now": now, "run": run, "rows": run_rows(others)})


@role_required(CLINICIAN, CURATOR)
@require_safe
def runs(request: HttpRequest) -> HttpResponse:
    """Newest first; `before` is the id that ended the page before."""
    found = project_of(request).runs.select_related("paths_from", "created_by")
    if before := request.GET.get("before", ""):
        found = found.filter(pk__lt=int(before) if before.isdecimal() and len(before) < 19 else 0)
    page = list(found[: RUNS_ON_PAGE + 1])
    more = page[RUNS_ON_PAGE - 1].pk if len(page) > RUNS_ON_PAGE else None
    return render(request, "pipeline/runs.html", {"rows": run_rows(page[:RUNS_ON_PAGE]), "more": more})
