"""The page on which a curator sets what a run may cost, with every budget it has had."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from apps.pipeline.budget import set_budget
from apps.pipeline.models import BudgetChange
from apps.pipeline.money import RunMoney, money_of
from apps.pipeline.services import RunError, resume_run
from apps.questions.access import CURATOR, project_of, role_required
from apps.reasoning.models import Run, RunState

CHANGES = 50


class BudgetForm(forms.Form):
    """Amounts in the currency of the run's prices; `set_budget` checks one against the other."""

    hard = forms.DecimalField(
        min_value=0, max_digits=14, decimal_places=4, required=False, label="Stop at", help_text="Empty: no limit."
    )
    soft = forms.DecimalField(
        min_value=0, max_digits=14, decimal_places=4, required=False, label="Warn at", help_text="Empty: no warning."
    )


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
def run_budget(request: HttpRequest, run_id: int) -> HttpResponse:
    """`do=resume` also resumes a paused run. Not valid: 422, nothing changed."""
    run = get_object_or_404(project_of(request).runs.select_related("project"), pk=run_id)
    if run.config.get("imported"):
        raise Http404("A run that holds imported paths makes no calls and has no budget.")
    now = money_of(run)
    if request.method != "POST":
        return show(request, run, now, BudgetForm(initial={"hard": plain(now.hard), "soft": plain(now.soft)}))
    assert isinstance(request.user, User)
    form = BudgetForm(request.POST)
    if not form.is_valid():
        return show(request, run, now, form, status=422)
    try:
        set_budget(run=run, hard=form.cleaned_data["hard"], soft=form.cleaned_data["soft"], by=request.user)
    except ValueError as error:
        field, _, words = str(error).partition(": ")
        form.add_error(field, words.capitalize())
        return show(request, run, now, form, status=422)
    said = f"The budget of {run.name} is set."
    if request.POST.get("do") == "resume":
        try:
            resume_run(run=run)
            said += " It is running again."
        except RunError as error:
            messages.error(request, str(error))
    messages.success(request, said)
    return redirect("run", run.pk)


def show(request: HttpRequest, run: Run, now: RunMoney, form: BudgetForm, *, status: int = 200) -> HttpResponse:
    changes = BudgetChange.objects.filter(run=run).select_related("by").order_by("-pk")[:CHANGES]
    context = {"run": run, "money": now, "form": form, "changes": changes, "paused": run.state == RunState.PAUSED}
    return render(request, "pipeline/budget.html", context, status=status)


def plain(amount: object) -> str:
    """10.5000 → 10.5, as a person would have typed it."""
    text = "" if amount is None else str(amount)
    return text.rstrip("0").rstrip(".") if "." in text else text
