"""The pages of a run's quality and of contamination: kept results with their time, and the button that looks again."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HTMX_STOP_POLLING

from apps.exports.contamination.scan import HIGHEST, LOWEST, THRESHOLD
from apps.exports.errors import ExportRefusedError
from apps.exports.gates.texts import GATE_HINTS, GATES
from apps.exports.inspections.pairs import view_of
from apps.exports.inspections.selectors import Latest, imported_since, latest_inspection, pairs_after
from apps.exports.inspections.services import order_inspection
from apps.exports.models_checks import Inspection, InspectionKind, PairScope
from apps.questions.access import CONSUMER, CURATOR, project_of, role_required
from apps.questions.models import Project
from apps.reasoning.models import Run

ON_PAGE = 10
SCOPES = (
    (PairScope.EVALUATION, "Like an evaluation question"),
    (PairScope.ITSELF, "An evaluation question itself"),
    (PairScope.WITHIN, "Like each other"),
)


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def quality(request: HttpRequest, run_id: int) -> HttpResponse:
    """What the gates found in a run's records, with samples; for htmx the state alone, while it is looked for."""
    project = project_of(request)
    run = _run(project, run_id)
    latest = latest_inspection(project, InspectionKind.GATES, run)
    if request.headers.get("HX-Request"):
        return _state(request, latest)
    context: dict[str, Any] = {"run": run, "latest": latest}
    if latest.done:
        found = latest.done.result
        context["gates"] = [(gate, GATE_HINTS[gate], found["gates"][gate]) for gate in GATES]
        context["open"] = request.GET.get("gate") or next((g for g in GATES if found["gates"][g]["records"]), "")
    return render(request, "exports/checks/quality.html", context)


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def contamination(request: HttpRequest, run_id: int | None = None) -> HttpResponse:
    """What a run (or all that may be trained on) shares with the evaluation sets and within itself, ten pairs a page."""
    project = project_of(request)
    run = None if run_id is None else _run(project, run_id)
    latest = latest_inspection(project, InspectionKind.CONTAMINATION, run)
    if request.headers.get("HX-Request"):
        return _state(request, latest)
    context: dict[str, Any] = {"run": run, "latest": latest, "threshold": THRESHOLD}
    if latest.done:
        context |= _pairs(request, latest.done)
        context |= {"threshold": latest.done.threshold, "outdated": imported_since(latest.done)}
    return render(request, "exports/checks/contamination.html", context)


def _pairs(request: HttpRequest, done: Inspection) -> dict[str, Any]:
    counts = {scope: sum(done.result["pairs"][scope].values()) for scope in (PairScope.EVALUATION, PairScope.WITHIN)}
    counts[PairScope.ITSELF] = done.result["themselves"]
    asked = request.GET.get("scope", "")
    scope = asked if asked in PairScope.values else next((s for s, _ in SCOPES if counts[s]), PairScope.EVALUATION)
    page = list(pairs_after(done, scope, _number(request.GET.get("after")))[: ON_PAGE + 1])
    return {
        "scope": scope,
        "scopes": [(value, words, counts[value]) for value, words in SCOPES],
        "pairs": [view_of(pair) for pair in page[:ON_PAGE]],
        "more": page[ON_PAGE - 1].pk if len(page) > ON_PAGE else None,
    }


@role_required(CURATOR)
@require_POST
def inspection_order(request: HttpRequest) -> HttpResponse:
    """`kind`, and the number of a `run` (contamination: without one all that may be trained on) and a `threshold`."""
    project = project_of(request)
    run = _run(project, _number(request.POST["run"])) if request.POST.get("run") else None
    kind = request.POST.get("kind", "")
    assert isinstance(request.user, User)
    try:
        threshold = float(request.POST.get("threshold") or THRESHOLD)
        order_inspection(project=project, kind=kind, run=run, threshold=threshold, by=request.user)
    except (ExportRefusedError, ValueError) as error:
        said = str(error) if isinstance(error, ExportRefusedError) else f"Between {LOWEST} and {HIGHEST}, please."
        if kind != InspectionKind.CONTAMINATION:
            raise Http404(said) from error
        latest = latest_inspection(project, InspectionKind.CONTAMINATION, run)
        context = {"run": run, "latest": latest, "threshold": request.POST.get("threshold"), "problem": said}
        if latest.done:
            context |= _pairs(request, latest.done)
        return render(request, "exports/checks/contamination.html", context, status=422)
    if kind == InspectionKind.GATES:
        assert run is not None
        return redirect("quality", run.pk)
    return redirect("run_contamination", run.pk) if run else redirect("contamination")


def _state(request: HttpRequest, latest: Latest) -> HttpResponse:
    """The fragment that asks again while it is made; when it is done, the whole page comes instead."""
    status = 200 if latest.active else HTMX_STOP_POLLING
    response = render(request, "exports/checks/_state.html", {"latest": latest, "swapped": True}, status=status)
    if not latest.active:
        response.headers["HX-Refresh"] = "true"
    return response


def _run(project: Project, run_id: int) -> Run:
    return get_object_or_404(project.runs.all(), pk=run_id)


def _number(text: str | None) -> int:
    """0 for what is none: no row has that id."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0
