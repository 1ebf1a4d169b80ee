"""The list of paths."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from apps.questions.access import CONSUMER, project_of, role_required
from apps.reasoning.layout import layout_of
from apps.reasoning.models import Label, Origin, PathLabel
from apps.reasoning.path_selectors import PathFilter, judge_reasons, search_paths, temperatures, twins_of
from apps.reasoning.question_selectors import find
from apps.reasoning.views.common import render_list, run_named, run_names


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def paths(request: HttpRequest) -> HttpResponse:
    """Filters are the address. Without a run named, the latest."""
    project = project_of(request)
    wanted = PathFilter.read(request.GET)
    run = run_named(project, wanted.run)
    if run is None:
        return render(request, "reasoning/paths_empty.html")
    layout = layout_of(run.config)
    found = find(
        search_paths(run, wanted), request.GET, field="path_id", twins=twins_of(wanted), searched=bool(wanted.reason)
    )
    reasons = judge_reasons(run, found.page.rows)
    context = {
        "wanted": wanted,
        "run": run,
        "run_names": run_names(project),
        "found": found,
        "rows": [(row, reasons.get(row.path_id, "")) for row in found.page.rows],
        "layout": layout,
        "labels": Label.choices,
        "origins": Origin.choices,
        "temperatures": temperatures(layout),
        "run_param": run.name,
        "base_params": wanted.params(run=run.name),
    }
    return render_list(request, "reasoning/paths.html", "reasoning/_paths_results.html", context)


@role_required(CONSUMER)
@require_safe
def path(request: HttpRequest, run_id: int, path_id: int) -> HttpResponse:
    """A path's own address: its question's page, opened at it."""
    label = get_object_or_404(
        PathLabel.objects.select_related("question"), run__project=project_of(request), run_id=run_id, path_id=path_id
    )
    address = reverse("run_question", args=(run_id, label.question.uid))
    return redirect(f"{address}?path={path_id}#path")
