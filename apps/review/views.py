"""Overriding a verdict: the consequences of either label first, then the new verdict beside the old."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseClientRedirect

from apps.questions.access import CLINICIAN, CURATOR, project_of, role_required
from apps.reasoning.desk import PathView, read_desk
from apps.reasoning.models import Label, ReasoningPath, Run, RunQuestion
from apps.reasoning.reading import read_path
from apps.reasoning.sentences import split_sentences
from apps.review.forms import AXES, OverrideForm
from apps.review.services import OverrideError, VersionConflict, confirm_remake, override_verdict, preview_override


@role_required(CLINICIAN, CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def override(request: HttpRequest, run_id: int, path_id: int) -> HttpResponse:
    """A page of its own, or for htmx the inside of the question page's dialog."""
    row, path = path_in_run(request, run_id, path_id)
    count = len(split_sentences(path.text))
    if request.method == "POST":
        return save(request, row, path, OverrideForm(request.POST, sentence_count=count))
    view = read_desk(row).views[path.pk]
    return show(request, row, view, OverrideForm(initial=first_values(row, view), sentence_count=count))


def save(request: HttpRequest, row: RunQuestion, path: ReasoningPath, form: OverrideForm) -> HttpResponse:
    """Saved: back to the question. Not valid: 422. Changed meanwhile: 409 with both sides and a fresh version."""
    assert isinstance(request.user, User)
    status, conflict = 422, None
    if form.is_valid():
        try:
            done = override_verdict(run=row.run, path=path, reviewer=request.user, **form.judgment)
        except OverrideError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        except VersionConflict as error:
            status, conflict, row = 409, error, path_in_run(request, row.run_id, path.pk)[0]
            fresh = {"version": str(error.current.version), "opened": request.POST.get("version", "")}
            form = OverrideForm(request.POST.dict() | fresh, sentence_count=form.sentence_count)
        else:
            messages.success(request, f"Your verdict is saved beside the judge’s. {done.summary}.")
            return leave(request, row, path)
    view = read_desk(row).views[path.pk]
    return show(request, row, view, form, status=status, conflict=conflict)


def show(
    request: HttpRequest,
    row: RunQuestion,
    view: PathView,
    form: OverrideForm,
    *,
    status: int = 200,
    conflict: VersionConflict | None = None,
) -> HttpResponse:
    assert isinstance(request.user, User)
    previews = {
        label: preview_override(run=row.run, path=view.path, reviewer=request.user, label=label)
        for label in (Label.CORRECT, Label.ERROR)
    }
    context = {
        "row": row,
        "run": row.run,
        "question": row.question,
        "view": view,
        "form": form,
        "axes": [form[axis] for axis in AXES],
        "previews": list(previews.items()),
        "conflict": conflict,
        "back": reverse("run_question", args=(row.run_id, row.question.uid)) + f"?path={view.path.pk}#path",
    }
    if request.headers.get("HX-Request"):
        return render(request, "review/_override.html", context, status=status)
    return render(request, "review/override.html", context | {"reading": read_path(view.path.text)}, status=status)


@role_required(CURATOR)
@require_POST
def remake(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """Let a question's stale outputs be made again."""
    assert isinstance(request.user, User)
    rows = RunQuestion.objects.select_related("run", "question").defer("question__search")
    row = get_object_or_404(rows, run_id=run_id, run__project=project_of(request), question__uid=uid)
    if confirm_remake(run=row.run, question_ids=[row.question_id], by=request.user):
        messages.success(request, "The stale outputs are made again when workers next have time.")
    return redirect("run_question", run_id, uid)


def path_in_run(request: HttpRequest, run_id: int, path_id: int) -> tuple[RunQuestion, ReasoningPath]:
    """The path and its question's row in the run; anything of another project or another run is 404."""
    run = get_object_or_404(Run, pk=run_id, project=project_of(request))
    path = get_object_or_404(ReasoningPath.objects.defer("raw"), pk=path_id, run_id__in={run.pk, run.paths_run_id})
    rows = RunQuestion.objects.select_related("run__project", "run__paths_from", "question__benchmark")
    row = get_object_or_404(rows.defer("question__search"), run=run, question_id=path.question_id)
    if not path.current:
        raise Http404("This path was replaced by a later one.")
    return row, path


def first_values(row: RunQuestion, view: PathView) -> dict[str, Any]:
    """The other label than the one in force; the axes only where they follow from it."""
    label = Label.CORRECT if view.word == Label.ERROR else Label.ERROR
    axes = dict.fromkeys(AXES, "pass") if label == Label.CORRECT else {}
    return {"label": label, **axes, "version": row.version, "idempotency_key": uuid4()}


def leave(request: HttpRequest, row: RunQuestion, path: ReasoningPath) -> HttpResponse:
    address = reverse("run_question", args=(row.run_id, row.question.uid)) + f"?path={path.pk}"
    return HttpResponseClientRedirect(address) if request.headers.get("HX-Request") else redirect(address)
