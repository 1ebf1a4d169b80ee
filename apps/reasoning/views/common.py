"""What the lists and the desk share: which run is looked at, and full page or fragment."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from apps.questions.models import Project
from apps.reasoning.models import Run


def runs_of(project: Project) -> QuerySet[Run]:
    return Run.objects.filter(project=project)


def run_named(project: Project, name: str) -> Run | None:
    """The run an address names; the latest where it names none. A name that is not there is 404."""
    if not name:
        return runs_of(project).first()
    run = runs_of(project).filter(name=name).first()
    if run is None:
        raise Http404("No such run.")
    return run


def run_names(project: Project) -> list[str]:
    return list(runs_of(project).values_list("name", flat=True)[:200])


def render_list(request: HttpRequest, page: str, fragment: str, context: dict[str, Any]) -> HttpResponse:
    """One address, the full page or its results alone."""
    context["paged"] = "after" in request.GET or "before" in request.GET
    return render(request, fragment if request.headers.get("HX-Request") else page, context)
