"""A run whose writers are on a Batch API, whole: worker, reconciler, pumps of both kinds and the simulator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from apps.pipeline.config import parse_config
from apps.pipeline.models import BatchJob, Call, PumpLease, Task
from apps.pipeline.services import create_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Run, RunState, Tier
from apps.reasoning.selectors import run_status
from tests.factories import make_project, make_question
from tests.workers.batch_world import batch_config, quick
from workers.embedded import embedded_worker
from workers.simulated import SimulatorConfig, parse_faults, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
QUESTIONS = 20
PATIENCE_S = 150


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[RunningSimulator]:
    quick(settings, monkeypatch)
    settings.BATCH_POLL_S = settings.BATCH_GATHER_S = 0.2
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


def test_a_run_with_its_writers_on_a_batch_api_finishes(models: RunningSimulator) -> None:
    """Files come back partial, expired and out of order, with lines of others: nothing is lost or paid twice."""
    faults = {"expire_after": 0.8, "fail_lines": 0.1, "odd_lines": True, "seconds": 0.2}
    models.simulator.config.faults = parse_faults({"batch": faults, "stages": {"summarise": {"empty": 0.1}}})
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which treatment comes first, given finding {number}?", key=number % 4)
    run = create_run(project=make_project(), name="batched", config=parse_config(batch_config("writer")))
    start_run(run=run)
    with embedded_worker():
        wait_until_finished(run)
    status = run_status(run)
    assert status["questions"] == QUESTIONS == status["exported_ready"] + sum(status["excluded"].values())
    assert all(status["tiers"][tier] for tier in Tier.values), status["tiers"]
    jobs = BatchJob.objects.filter(run=run)
    assert set(jobs.values_list("state", flat=True)) == {"taken"}
    assert {lane.split("@")[0] for lane in jobs.values_list("lane", flat=True)} == {"refine", "regenerate", "summarise"}
    assert_books_agree(run, models)
    assert not Task.objects.filter(run=run).exclude(state="idle").exists()
    assert not PumpLease.objects.exists()


def assert_books_agree(run: Run, models: RunningSimulator) -> None:
    done = sum(batch.completed for batch in models.simulator.batches.batches.values())
    billed = Call.objects.filter(run=run, cost__gt=0)
    assert set(billed.values_list("endpoint", flat=True)) == {"writer"}
    assert billed.count() == done
    run.money.refresh_from_db()
    assert (run.money.spent, run.money.reserved) == (sum(call.cost for call in billed), 0)
    assert models.simulator.tally.report()["repeats"] == 0
    assert check_run(run) == []


def wait_until_finished(run: Run) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while run.state != RunState.FINISHED:
        assert time.monotonic() < deadline, f"waited in vain: {run_status(run)}, {list(BatchJob.objects.values())}"
        time.sleep(0.05)
        run.refresh_from_db()
