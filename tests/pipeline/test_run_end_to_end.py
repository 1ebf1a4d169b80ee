"""A small run, whole: worker, pumps and simulated models, over real sockets and a real database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.pipeline.config import parse_config
from apps.pipeline.models import Call, Failure, PumpLease, Task
from apps.pipeline.services import create_run, pause_run, resume_run, start_run
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Origin, ReasoningPath, Run, RunState, Tier, Verdict
from apps.reasoning.selectors import run_status
from tests.factories import make_project, make_question
from workers.embedded import embedded_worker
from workers.simulated import SimulatorConfig, parse_faults, start_in_thread
from workers.simulated.keys import DatabaseKeys
from workers.simulated.running import RunningSimulator

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
QUESTIONS = 30
PATIENCE_S = 120


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    with start_in_thread(SimulatorConfig(), DatabaseKeys()) as running:
        monkeypatch.setenv("REASONMED_SIMULATOR_URL", running.base_url)
        yield running


def test_a_run_finishes_and_all_its_counts_agree(models: RunningSimulator) -> None:
    run = new_run()
    start_run(run=run)
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    status = run_status(run)
    assert status["questions"] == QUESTIONS == told(status)
    assert status["waiting"] == {}
    assert status["exported_ready"] >= 0.9 * QUESTIONS, "a simulated model may leave a question without a path to keep"
    assert sum(status["tiers"].values()) == QUESTIONS
    assert all(status["tiers"][tier] for tier in Tier.values), status["tiers"]
    assert ReasoningPath.objects.filter(run=run, origin=Origin.GENERATED).count() == 9 * QUESTIONS
    assert status["calls"] == Call.objects.filter(run=run).count() == models.simulator.tally.received
    assert models.simulator.tally.report()["repeats"] == 0
    assert status["failed_calls"] == Call.objects.filter(run=run).exclude(error_class="").count()
    assert_settled(run)


def test_a_run_over_faulty_models_finishes_with_every_question_told(models: RunningSimulator) -> None:
    rates = {"rate_429": 0.1, "error_500": 0.1, "malformed_json": 0.1, "empty": 0.1, "length": 0.1}
    models.simulator.config.faults = parse_faults({**rates, "retry_after_s": 0.05})
    run = new_run()
    start_run(run=run)
    with embedded_worker():
        wait_for_state(run, RunState.FINISHED)
    status = run_status(run)
    assert told(status) == status["questions"] == QUESTIONS
    classes = set(Call.objects.filter(run=run).exclude(error_class="").values_list("error_class", flat=True))
    assert classes >= {"rate_limit", "server", "schema", "empty", "length"}
    assert status["failed_calls"] == Call.objects.filter(run=run).exclude(error_class="").count()
    assert status["exported_ready"] > 0
    if status["exported_ready"] < QUESTIONS:
        assert Failure.objects.filter(run=run, resolved_at=None).exists()
    assert_settled(run)


def test_a_paused_run_makes_no_calls_until_it_is_resumed(models: RunningSimulator) -> None:
    models.simulator.config.faults = parse_faults({"latency_ms": 20})
    run = new_run()
    start_run(run=run)
    with embedded_worker():
        wait_for(lambda: Verdict.objects.filter(run=run).exists(), "a first verdict")
        pause_run(run=run)
        wait_for(lambda: not PumpLease.objects.exists(), "the pumps to end")
        made = Call.objects.filter(run=run).count()
        assert 0 < made == models.simulator.tally.received
        assert Task.objects.filter(run=run, state="ready").exists()
        assert check_run(run) == []
        resume_run(run=run)
        wait_for_state(run, RunState.FINISHED)
    assert models.simulator.tally.received == Call.objects.filter(run=run).count() > made
    assert models.simulator.tally.report()["repeats"] == 0
    assert told(run_status(run)) == QUESTIONS
    assert run_status(run)["waiting"] == {}
    assert_settled(run)


def told(status: dict[str, Any]) -> int:
    """Questions that are ready, excluded with a reason, or waiting with one."""
    return int(status["exported_ready"]) + sum(status["excluded"].values()) + sum(status["waiting"].values())


def new_run() -> Run:
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which treatment comes first, given finding {number}?", key=number % 4)
    assert Question.objects.count() == QUESTIONS
    return create_run(project=make_project(), name="whole", config=parse_config({}))


def assert_settled(run: Run) -> None:
    assert check_run(run) == []
    assert not Task.objects.filter(run=run).exclude(state="idle").exists()
    assert not PumpLease.objects.exists()


def wait_for_state(run: Run, state: RunState) -> None:
    def reached() -> bool:
        run.refresh_from_db()
        return run.state == state

    wait_for(reached, f"{state}: {run_status(run)}")


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
