"""Questions that someone says are not sound: the list and one flag for adjudicators, and the page to raise one."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR, project_of, role_required
from apps.questions.models import Project, Question
from apps.reasoning.models import RunQuestion
from apps.reasoning.paging import count_capped, read_page
from apps.reasoning.text import split_stem
from apps.review.models import FlagState, QuestionFlag
from apps.review.queues.errors import NotAdmitted, QueueError
from apps.review.queues.flags import flag_question, resolve_flag, withdraw_flag
from apps.review.settle.effects import foresee_flag, foresee_revoking
from apps.review.settle.forms import QuestionFlagForm, ResolveForm
from apps.review.settle.selectors import MOST_COUNTED, name_of, open_flags
from apps.review.settle.views import settling, the_person

judging = role_required(CLINICIAN, CURATOR, ADJUDICATOR)


@settling
@require_safe
def flags(request: HttpRequest) -> HttpResponse:
    rows = open_flags(project_of(request))
    context = {"page": read_page(rows, request.GET, field="pk"), "count": count_capped(rows, MOST_COUNTED)}
    return render(request, "review/settle_flags.html", context)


@settling
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def flag(request: HttpRequest, flag_id: int) -> HttpResponse:
    """Uphold or revoke. Not valid: 422; settled by someone meanwhile: 409, with what was typed."""
    rows = QuestionFlag.objects.select_related("question__benchmark", "project", "reviewer", "resolved_by")
    one = get_object_or_404(rows, pk=min(flag_id, 2**63 - 1), project=project_of(request))
    form, status = ResolveForm(), 200
    if request.method == "POST":
        form, status = ResolveForm(request.POST), 422
        if form.is_valid():
            uphold, why = form.cleaned_data["decision"] == "uphold", form.cleaned_data["why"]
            try:
                one = resolve_flag(flag=one, by=the_person(request), uphold=uphold, why=why)
            except QueueError as error:
                one = rows.get(pk=one.pk)
                if one.state != FlagState.OPEN:
                    status = 409
                form.add_error(error.field or None, str(error))
            else:
                return redirect("settle_flag", one.pk)
            if _is_repeat(one, request, uphold=uphold, why=why):
                return redirect("settle_flag", one.pk)
    context = {
        "flag": one,
        "form": form,
        "question": one.question,
        "stem": split_stem(one.question.stem),
        "raised": raised(one.question, one.project),
        "effect": foresee_revoking(one) if one.state == FlagState.OPEN else None,
        "run_row": RunQuestion.objects.filter(run__project=one.project, question=one.question)
        .select_related("run")
        .order_by("-run")
        .first(),
        "following": open_flags(one.project).filter(pk__gt=one.pk).order_by("pk").first()
        or open_flags(one.project).exclude(pk=one.pk).order_by("pk").first(),
        "own": one.reviewer_id == the_person(request).pk,
    }
    return render(request, "review/settle_flag.html", context, status=status)


@judging
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def flag_question_page(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """Say that a question is not sound, outside any queue; what is set aside is told first."""
    project = project_of(request)
    rows = RunQuestion.objects.select_related("run__project", "question__benchmark").defer("question__search")
    row = get_object_or_404(rows, run_id=run_id, run__project=project, question__uid=uid)
    form = QuestionFlagForm(request.POST) if request.method == "POST" else QuestionFlagForm()
    status = 422 if form.is_bound else 200
    if form.is_bound and form.is_valid():
        try:
            flag_question(question=row.question, project=project, reviewer=the_person(request), **form.cleaned_data)
        except QueueError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            messages.success(
                request, "The question is set aside in every run of the project, until an adjudicator has looked at it."
            )
            return redirect("run_question", run_id, uid)
    context = {
        "row": row,
        "run": row.run,
        "question": row.question,
        "stem": split_stem(row.question.stem),
        "form": form,
        "effect": foresee_flag(question=row.question, project=project),
        "raised": [(who, one) for who, one in raised(row.question, project) if one.state != FlagState.REVOKED],
    }
    return render(request, "review/settle_question.html", context, status=status)


@judging
@require_POST
def withdraw(request: HttpRequest, run_id: int, uid: str, flag_id: int) -> HttpResponse:
    """Take one's own flag back while it is open; the question is back unless another flag stands."""
    rows = QuestionFlag.objects.filter(question__uid=uid, project=project_of(request))
    one = get_object_or_404(rows, pk=min(flag_id, 2**63 - 1))
    try:
        withdraw_flag(flag=one, by=the_person(request))
    except (QueueError, NotAdmitted) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Your flag is taken back.")
    return redirect("question_flag", run_id, uid)


def raised(question: Question, project: Project) -> list[tuple[str, QuestionFlag]]:
    """All flags on the question with who raised each: a pseudonym while the flag is open."""
    found = QuestionFlag.objects.filter(question=question, project=project).select_related("reviewer", "resolved_by")
    numbers: dict[int, int] = {}
    rows = []
    for one in found.order_by("pk"):
        n = numbers.setdefault(one.reviewer_id, len(numbers) + 1)
        rows.append((f"Reviewer {n}" if one.state == FlagState.OPEN else name_of(one.reviewer), one))
    return rows


def _is_repeat(one: QuestionFlag, request: HttpRequest, *, uphold: bool, why: str) -> bool:
    """The same decision of the same person again: sent twice, or the answer to the first was lost."""
    state = FlagState.UPHELD if uphold else FlagState.REVOKED
    return (one.resolved_by_id, one.state, one.resolution) == (the_person(request).pk, state, why.strip())
