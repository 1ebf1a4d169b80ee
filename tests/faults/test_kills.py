"""kill -9 of a worker and of PostgreSQL in the middle of a run: nothing is lost, doubled or paid twice beyond what flew."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.instance import Instance, kill, wait_for

pytestmark = pytest.mark.faults
KILLS = 5
RUN = "killed"
LATENCY = ("--latency-ms", "30")
OUTPUTS = {  # table → what only one output may have
    "reasoning_reasoningpath": "run_id, question_id, origin, generator, sample, parent_id, revision",
    "reasoning_verdict": "run_id, path_id",
    "reasoning_rankscore": "run_id, path_id",
    "reasoning_response": "run_id, path_id",
}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        instance.start_simulator(*LATENCY)
        yield instance


def test_five_kills_of_the_worker(instance: Instance) -> None:
    instance.manage("create_run", "--name", RUN)
    questions = instance.status(RUN)["questions"]
    at_least = questions * 18  # generate and verify
    lost = 0
    for number in range(1, KILLS + 1):
        worker = instance.start("run_pipeline", RUN)
        kill_in_flight(instance, worker, at_least * number // (KILLS + 1))
        now_lost = unbooked_calls(instance)
        assert now_lost >= lost
        lost = now_lost
    assert lost > 0, "no call was in flight at any kill: the test proves nothing"
    finish(instance)
    assert_whole(instance, questions)
    assert instance.stats()["repeats"] <= lost
    assert unbooked_calls(instance) == lost, "calls were lost without a kill"


def test_kill_of_postgresql(instance: Instance) -> None:
    instance.manage("create_run", "--name", RUN, "--limit", "40")
    worker = instance.start("run_pipeline", RUN)
    wait_for(lambda: booked_calls(instance) >= 100, "booked calls")
    instance.postmaster().send_signal(signal.SIGKILL)
    assert worker.wait(120) != 0, "a run without its database must not end as if all were well"
    finish(instance)
    assert_whole(instance, 40)


def kill_in_flight(instance: Instance, worker: subprocess.Popen[bytes], booked: int) -> None:
    """Once so many calls are in the ledger and others are on their way."""

    def reached() -> bool:
        assert worker.poll() is None, f"the run ended before it could be killed: {instance.log('run_pipeline')}"
        return booked_calls(instance) >= booked and instance.stats()["in_flight"] > 0

    wait_for(reached, f"{booked} calls")
    kill(worker)
    wait_for(lambda: instance.stats()["in_flight"] == 0, "the requests left behind")


def booked_calls(instance: Instance) -> int:
    return instance.count("SELECT count(*) FROM pipeline_call")


def unbooked_calls(instance: Instance) -> int:
    """Requests the models got that no Call tells of: in flight, or answered and not yet written, at a kill."""
    received: int = instance.stats()["received"]
    return received - booked_calls(instance)


def finish(instance: Instance) -> None:
    worker = instance.start("run_pipeline", RUN)
    assert worker.wait(400) == 0, instance.log("run_pipeline")


def assert_whole(instance: Instance, questions: int) -> None:
    status = instance.status(RUN)
    assert status["state"] == "finished"
    assert status["waiting"] == {}
    assert all(status["tiers"][tier] > 0 for tier in ("easy", "medium", "difficult")), status["tiers"]
    assert sum(status["tiers"].values()) == questions
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
    assert instance.count("SELECT count(*) FROM reasoning_reasoningpath WHERE origin = 'generated'") == 9 * questions
    for table, identity in OUTPUTS.items():
        doubled = f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {identity} HAVING count(*) > 1) d"
        assert instance.count(doubled) == 0, table
    outputs = sum(instance.count(f"SELECT count(*) FROM {table}") for table in OUTPUTS)
    assert outputs == instance.count("SELECT count(*) FROM pipeline_call WHERE status = 'ok'")
    assert instance.count("SELECT count(*) FROM pipeline_task WHERE state <> 'idle'") == 0
    assert instance.count("SELECT count(*) FROM pipeline_pumplease") == 0
