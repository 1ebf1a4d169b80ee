"""Whole runs over models that refuse three calls in ten, or die for a while: no question is lost, none is set aside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.instance import Instance, kill, wait_for

pytestmark = pytest.mark.faults
RUN = "limited"
QUESTIONS = 15
DEAD_S = 40.0


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        yield instance


def test_a_run_over_models_that_refuse_three_calls_in_ten(instance: Instance) -> None:
    instance.start_simulator("--latency-ms", "50", "--rate-429", "0.3", "--retry-after-s", "1")
    instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
    worker = instance.start("run_pipeline", RUN)
    assert worker.wait(300) == 0, instance.log("run_pipeline")
    assert_all_told(instance)
    refused = instance.count("SELECT count(*) FROM pipeline_call WHERE error_class = 'rate_limit'")
    calls = instance.count("SELECT count(*) FROM pipeline_call")
    assert 0.2 * calls < refused < 0.4 * calls


def test_models_dead_for_a_while_cost_no_question(instance: Instance) -> None:
    instance.start_simulator("--latency-ms", "200")
    simulator = instance.processes[-1]
    instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
    worker = instance.start("run_pipeline", RUN)
    wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_call") > 60, "calls")
    kill(simulator)
    back_at = time.monotonic() + DEAD_S
    most_attempts = 0

    def is_time() -> bool:
        nonlocal most_attempts
        found = instance.query("SELECT max(attempts) FROM pipeline_task")
        most_attempts = max(most_attempts, int(found[0][0] or 0))
        assert worker.poll() is None, f"the worker gave up: {instance.log('run_pipeline')}"
        return time.monotonic() >= back_at

    wait_for(is_time, "the end of the outage")
    port = instance.simulator.rsplit(":", 1)[1]
    instance.start("simulate_models", "--port", port, "--latency-ms", "200")
    assert worker.wait(300) == 0, instance.log("run_pipeline")
    assert_all_told(instance)
    assert most_attempts <= 5, "of the 20 after which an output is set aside"
    failed = "SELECT count(*) FROM pipeline_call WHERE error_class = 'connection'"
    assert 0 < instance.count(failed) < 5 * 64 + 5 * 2 * DEAD_S, "five endpoints, each asked now and then"


def assert_all_told(instance: Instance) -> None:
    status = instance.status(RUN)
    assert status["state"] == "finished"
    assert status["waiting"] == {}
    assert sum(status["tiers"].values()) == QUESTIONS
    assert instance.count("SELECT count(*) FROM pipeline_failure") == 0
    assert instance.count("SELECT count(*) FROM pipeline_task WHERE state <> 'idle'") == 0
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
