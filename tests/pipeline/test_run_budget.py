"""A priced run, whole: a real worker stops it at its budget and goes on when it is raised."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from apps.pipeline.budget import set_budget
from apps.pipeline.config import default_config, parse_config
from apps.pipeline.models import Call, Reservation, RunBudget
from apps.pipeline.services import create_run, resume_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Run, RunState
from apps.reasoning.selectors import run_status
from tests.factories import make_project, make_question
from tests.pipeline.test_run_end_to_end import wait_for_state
from workers.embedded import embedded_worker
from workers.simulated import SimulatorConfig, parse_faults, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
QUESTIONS = 12
CAPS = {"generators": 300, "judge": 200, "ranker": 200, "refiner": 400, "regenerator": 500, "summariser": 300}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


def priced_config(hard: str | None) -> dict[str, Any]:
    """The published set-up at 1 a thousand tokens in, 4 out, with caps that bind."""
    config = default_config()
    config["endpoints"] = [
        {**e, "price_in": "1000", "price_out": "4000", "max_in_flight": 16} for e in config["endpoints"]
    ]
    config["generators"] = [{**g, "max_tokens": CAPS["generators"]} for g in config["generators"]]
    for stage, cap in CAPS.items():
        if stage != "generators":
            config[stage] = {**config[stage], "max_tokens": cap}
    return {**config, "budget": {"hard": hard}}


def priced_run(hard: str | None) -> Run:
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which treatment comes first, given finding {number}?", key=number % 4)
    run = create_run(project=make_project(), name="priced", config=parse_config(priced_config(hard)))
    start_run(run=run)
    return run


def test_a_run_stops_at_or_below_its_budget_and_goes_on_when_it_is_raised(models: RunningSimulator) -> None:
    models.simulator.config.faults = parse_faults({"malformed_json": 0.1, "length": 0.1, "error_500": 0.05})
    run = priced_run("60")
    with embedded_worker():
        wait_for_state(run, RunState.PAUSED)
    money = RunBudget.objects.get(pk=run.pk)
    assert money.stopped_at is not None
    assert money.short_of is not None
    assert Decimal(60) - money.short_of < money.spent <= Decimal(60)
    assert money.spent == sum(Call.objects.filter(run=run).values_list("cost", flat=True))
    assert not Reservation.objects.exists()
    assert models.simulator.tally.received == Call.objects.filter(run=run).count()
    assert check_run(run) == []
    set_budget(run=run, hard=None, soft=None)
    resume_run(run=run)
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    assert Decimal(run_status(run)["cost"]) > 60
    assert models.simulator.tally.received == Call.objects.filter(run=run).count()
    assert check_run(run) == []


def test_a_budget_that_is_enough_changes_nothing(models: RunningSimulator) -> None:
    run = priced_run("100000")
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    status = run_status(run)
    assert status["exported_ready"] + sum(status["excluded"].values()) == QUESTIONS
    assert RunBudget.objects.get(pk=run.pk).stopped_at is None
    assert not Reservation.objects.exists()
    assert check_run(run) == []
