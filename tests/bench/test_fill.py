"""What the benchmark of the full size fills is a run like any other: the ledger finds no drift in it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from apps.questions.access import ROLES
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import PathLabel, RunQuestion
from apps.review.queues.selectors import tallies_of
from tests.bench.full.fill import fill
from tests.factories import make_benchmark, make_project

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_a_filled_run_is_consistent() -> None:
    make_project()
    for slug in ("medqa", "medmcqa", "pubmedqa", "mmlu"):
        make_benchmark(slug)
    for role in ROLES:
        Group.objects.get_or_create(name=role)
    run = fill(800)
    assert check_run(run) == []
    assert Question.objects.count() == RunQuestion.objects.filter(run=run).count() == 800
    states = set(RunQuestion.objects.filter(run=run).values_list("state", "tier", "disputed"))
    assert {("ready", "easy", False), ("ready", "medium", False), ("ready", "difficult", False)} <= states
    assert PathLabel.objects.filter(run=run, overridden=True).exists()
    assert PathLabel.objects.filter(run=run, disputed=True).exists()
    queue = run.queues.get()
    assert tallies_of([queue])[queue.pk].judgments == 2 * queue.size
