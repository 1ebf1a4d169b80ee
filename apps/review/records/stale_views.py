"""The list of questions whose outputs became stale, and its confirmation."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from apps.questions.access import CLINICIAN, CURATOR, has_role, project_of, role_required
from apps.reasoning.paging import read_page
from apps.review.models_records import RecordDecision, RecordOverride
from apps.review.records.stale import MOST_FORESEEN, confirm_all, foresee, stale_questions, together
from apps.review.services import confirm_remake


@role_required(CLINICIAN, CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
def stale(request: HttpRequest, run_id: int) -> HttpResponse:
    """A page of them with what each needs; a curator confirms those ticked (`do=chosen`) or all (`do=all`)."""
    assert isinstance(request.user, User)
    run = get_object_or_404(project_of(request).runs.select_related("paths_from", "project"), pk=run_id)
    if request.method == "POST":
        if not has_role(request.user, CURATOR):
            raise PermissionDenied
        ids = [
            int(raw) for raw in request.POST.getlist("question") if raw.isascii() and raw.isdigit() and len(raw) < 19
        ]
        everything = request.POST.get("do") == "all"
        done = confirm_all(run=run, by=request.user) if everything else confirm_remake(run=run, question_ids=ids, by=request.user)  # fmt: skip
        if done:
            messages.success(request, f"{done:,} question{'s' if done != 1 else ''} will be made again when workers next have time.")  # fmt: skip
        else:
            messages.error(request, "Nothing was confirmed: tick the questions to be made again.")
        return redirect("stale", run_id)
    rows = stale_questions(run).select_related("question").defer("question__search", "question__explanation")
    page = read_page(rows, request.GET, field="question_id")
    ids = list(stale_questions(run).order_by("question_id").values_list("question_id", flat=True)[: MOST_FORESEEN + 1])
    shown = [row.question_id for row in page.rows]
    work = foresee(run, [*dict.fromkeys([*ids[:MOST_FORESEEN], *shown])])
    causes = _causes(run.pk, shown)
    context = {
        "run": run,
        "page": page,
        "rows": [(row, work[row.question_id], causes.get(row.question_id, "")) for row in page.rows],
        "whole": together(work[pk] for pk in ids[:MOST_FORESEEN]),
        "more": len(ids) > MOST_FORESEEN,
    }  # fmt: skip
    return render(request, "review/record_stale.html", context)


CAUSES = {
    "tier": "a tier was set",
    "choice": "paths were chosen",
    "response": "a response was written",
    "path": "a path was rewritten",
    "returned": "a record was returned",
}


def _causes(run_id: int, question_ids: list[int]) -> dict[int, str]:
    """What people last changed about records, by question; where nothing, a verdict was the cause."""
    here = {"run_id": run_id, "question_id__in": question_ids, "current": True}
    overrides = RecordOverride.objects.filter(**here).values_list("created_at", "question_id", "kind")
    returned = RecordDecision.objects.filter(**here, decision="returned")
    events = [*overrides, *returned.values_list("created_at", "question_id", "decision")]
    return {question: CAUSES[kind] for _, question, kind in sorted(events)}
