"""What the benchmark of the full size fills is a run like any other: the ledger finds no drift in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Group

from apps.exports.build import build_export
from apps.exports.records import VARIANTS
from apps.questions.access import ROLES
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import PathLabel, Run, RunQuestion
from apps.review.queues.selectors import tallies_of
from tests.bench.full.export import BARE
from tests.bench.full.fill import fill
from tests.bench.full.floor import write_sets, write_sets_and_trail
from tests.factories import make_benchmark, make_project

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_a_filled_run_is_consistent(tmp_path: Path) -> None:
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
    _floors_write_what_an_export_writes(run, tmp_path)
    queue = run.queues.get()
    assert tallies_of([queue])[queue.pk].judgments == 2 * queue.size


def _floors_write_what_an_export_writes(run: Run, out: Path) -> None:
    build_export(run=run, variants=VARIANTS, format="jsonl", out_dir=out / "export", config=BARE)
    for write, names in ((write_sets, VARIANTS), (write_sets_and_trail, (*VARIANTS, "provenance"))):
        assert write(run, out) > 800
        for name in names:
            assert (out / f"floor-{name}.jsonl").read_bytes() == (out / "export" / f"{name}.jsonl").read_bytes(), name
