"""The overview of a run, the list of runs, and what a curator may do to them."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HTMX_STOP_POLLING

from apps.pipeline.batches import batch_rows
from apps.pipeline.config import ConfigError
from apps.pipeline.estimate import Estimate
from apps.pipeline.forms import RunForm, estimate_for
from apps.pipeline.models import PromptVersion
from apps.pipeline.overview import overview_of, run_rows
from apps.pipeline.servers import servers_of
from apps.pipeline.services import RunError, cancel_run, create_run, pause_run, resume_run, start_run
from apps.questions.access import CONSUMER, CURATOR, has_role, project_of, role_required
from apps.reasoning.models import Run

RUNS_ON_OVERVIEW = 8
RUNS_ON_PAGE = 50
RUN_ACTIONS = {"start": start_run, "pause": pause_run, "resume": resume_run, "cancel": cancel_run}


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def overview(request: HttpRequest) -> HttpResponse:
    """The run that was created last; with none, what to do first."""
    latest = project_of(request).runs.select_related("paths_from", "created_by").first()
    return show_run(request, latest) if latest else render(request, "pipeline/overview_empty.html")


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    runs = project_of(request).runs.select_related("paths_from", "created_by")
    return show_run(request, get_object_or_404(runs, pk=run_id))


def show_run(request: HttpRequest, run: Run) -> HttpResponse:
    """The page, or for htmx its live part; status 286 ends the polling once the run has ended."""
    now = overview_of(run)
    servers = servers_of(run, logs=has_role(request.user, CURATOR))
    live = {"now": now, "run": run, "batches": batch_rows(run), "servers": servers}
    if request.headers.get("HX-Request"):
        status = 200 if now.polls else HTMX_STOP_POLLING
        return render(request, "pipeline/_live.html", {**live, "swapped": True}, status=status)
    others = run.project.runs.select_related("paths_from")[:RUNS_ON_OVERVIEW]
    return render(request, "pipeline/overview.html", {**live, "rows": run_rows(others)})


@role_required(CONSUMER)
@require_safe
def runs(request: HttpRequest) -> HttpResponse:
    """Newest first; `before` is the id that ended the page before."""
    found = project_of(request).runs.select_related("paths_from", "created_by")
    if before := request.GET.get("before", ""):
        found = found.filter(pk__lt=int(before) if before.isdecimal() and len(before) < 19 else 0)
    page = list(found[: RUNS_ON_PAGE + 1])
    more = page[RUNS_ON_PAGE - 1].pk if len(page) > RUNS_ON_PAGE else None
    return render(request, "pipeline/runs.html", {"rows": run_rows(page[:RUNS_ON_PAGE]), "more": more})


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def run_new(request: HttpRequest) -> HttpResponse:
    """`do=estimate` only counts; `do=create` creates the run, not yet started. Not valid: 422."""
    assert isinstance(request.user, User)
    project = project_of(request)
    if request.method != "POST":
        return render_form(request, RunForm(project=project))
    form = RunForm(request.POST, project=project)
    if not form.is_valid() or form.config is None:
        return render_form(request, form, status=422)
    said = form.cleaned_data
    if request.POST.get("do") != "create":
        return render_form(request, form, estimate=estimate_for(form.config, project, said))
    try:
        run = create_run(
            project=project,
            name=said["name"],
            config=form.config,
            created_by=request.user,
            paths_from=said["paths_from"],
            allow_held_out=said["allow_held_out"],
        )
    except (RunError, ConfigError) as error:
        form.add_error(None, str(error))
        return render_form(request, form, status=422)
    messages.success(request, f"Run {run.name} is ready. Nothing is asked of a model before you start it.")
    return redirect("run", run.pk)


def render_form(
    request: HttpRequest, form: RunForm, *, status: int = 200, estimate: Estimate | None = None
) -> HttpResponse:
    return render(request, "pipeline/run_new.html", {"form": form, "estimate": estimate}, status=status)


@role_required(CURATOR)
@require_POST
def run_action(request: HttpRequest, run_id: int, action: str) -> HttpResponse:
    """Start, pause, resume or cancel; a run whose state does not allow it is told so, not changed."""
    run = get_object_or_404(project_of(request).runs, pk=run_id)
    try:
        RUN_ACTIONS[action](run=run)
    except RunError as error:
        messages.error(request, str(error))
    else:
        run.refresh_from_db()
        messages.success(request, f"Run {run.name} is {run.get_state_display().lower()} now.")
    return redirect("run", run.pk)


@role_required(CURATOR)
@require_safe
def run_cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    """Asks before a run is cancelled, since that cannot be taken back."""
    run = get_object_or_404(project_of(request).runs, pk=run_id)
    return render(request, "pipeline/run_cancel.html", {"run": run, "now": overview_of(run)})


@role_required(CONSUMER)
@require_safe
def prompt(request: HttpRequest, sha256: str) -> HttpResponse:
    """A prompt's text by its hash, as it was sent."""
    project_of(request)
    return render(request, "pipeline/prompt.html", {"prompt": get_object_or_404(PromptVersion, pk=sha256)})
