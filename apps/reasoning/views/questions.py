"""The list of questions."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from apps.questions.access import CONSUMER, project_of, role_required
from apps.questions.models import Benchmark, Split
from apps.reasoning.layout import Layout, layout_of
from apps.reasoning.models import Tier
from apps.reasoning.question_selectors import (
    NO_RUN,
    TWINS,
    QuestionFilter,
    find,
    named_patterns,
    search_questions,
    search_run_questions,
)
from apps.reasoning.views.common import render_list, run_named, run_names


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def questions(request: HttpRequest) -> HttpResponse:
    """Filters are the address. Without a run named, the latest; `run=none` shows all that was imported."""
    project = project_of(request)
    wanted = QuestionFilter.read(request.GET)
    run = None if wanted.run == NO_RUN else run_named(project, wanted.run)
    if run:
        found = find(
            search_run_questions(run, wanted), request.GET, field="question_id", twins=TWINS, searched=bool(wanted.q)
        )
        layout = layout_of(run.config)
    else:
        found = find(search_questions(project, wanted), request.GET, field="pk", searched=bool(wanted.q))
        layout = Layout(())
    context = {
        "wanted": wanted,
        "run": run,
        "run_names": run_names(project),
        "found": found,
        "layout": layout,
        "benchmarks": list(Benchmark.objects.values_list("slug", "name").order_by("name")),
        "splits": Split.values,
        "tiers": Tier.values,
        "patterns": named_patterns(layout),
        "states": STATES,
        "run_param": run.name if run else NO_RUN,
        "base_params": wanted.params(run=run.name if run else NO_RUN),
    }
    return render_list(request, "reasoning/questions.html", "reasoning/_questions_results.html", context)


STATES = (("ready", "Ready to export"), ("waiting", "Waiting"), ("excluded", "Excluded"))
