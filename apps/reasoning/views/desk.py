"""The question page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from apps.questions.access import CONSUMER, project_of, role_required
from apps.questions.models import Question
from apps.reasoning.desk import Desk, PathView, read_desk
from apps.reasoning.models import RunQuestion
from apps.reasoning.reading import read_path
from apps.reasoning.text import split_stem


@role_required(CONSUMER)
@require_safe
def question(request: HttpRequest, uid: str) -> HttpResponse:
    """In the latest run of the project that has it; a question in no run is shown alone."""
    project = project_of(request)
    visible = Question.objects.visible_to(project).select_related("benchmark", "canonical")
    found = get_object_or_404(visible, uid=uid)
    row = RunQuestion.objects.filter(question=found, run__project=project).order_by("-run_id").first()
    if row:
        return redirect("run_question", row.run_id, uid)
    return render(request, "reasoning/question_alone.html", {"question": found, "stem": split_stem(found.stem)})


@role_required(CONSUMER)
@require_safe
def run_question(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """The desk; `path` in the address is the one that lies open."""
    desk = desk_of(request, run_id, uid)
    opened = desk.opened(_id(request.GET.get("path")))
    context = {
        "desk": desk,
        "run": desk.run,
        "row": desk.row,
        "question": desk.question,
        "stem": split_stem(desk.question.stem),
        "opened": opened,
        "others": [view for view in desk.views.values() if view is not opened],
        "other_runs": RunQuestion.objects.filter(question=desk.question, run__project=desk.run.project)
        .exclude(run=desk.run)
        .select_related("run")
        .order_by("-run_id")[:10],
    }
    if opened:
        context["reading"] = read_path(
            opened.path.text, stem=desk.question.stem, options=desk.question.options, cited=cited_sentences(opened)
        )
    return render(request, "reasoning/question.html", context)


def desk_of(request: HttpRequest, run_id: int, uid: str) -> Desk:
    rows = RunQuestion.objects.select_related("run__project", "run__paths_from", "question__benchmark")
    row = get_object_or_404(
        rows.defer("question__search"), run_id=run_id, run__project=project_of(request), question__uid=uid
    )
    return read_desk(row)


def cited_sentences(view: PathView) -> list[int]:
    """Sentences that the verdicts in force point to."""
    verdicts = [view.judge, *view.people]
    numbers = [n for v in verdicts if v for n in v.details.get("sentences", ())]
    return [n for n in numbers if isinstance(n, int)]


def _id(raw: str | None) -> int | None:
    return int(raw) if raw and raw.isascii() and raw.isdigit() and len(raw) < 19 else None
