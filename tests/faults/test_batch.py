"""kill -9 of the worker between each step of a batch: nothing is lost, no batch is made twice, nothing is paid twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.faults.instance import Instance, kill, wait_for

pytestmark = pytest.mark.faults
RUN = "batched"
QUESTIONS = 8
LANE = "generate@qwen"
SAMPLES = 3
CONFIG = """
[[endpoints]]
name = "qwen"
base_url = "simulated"
model = "sim-qwen2.5-72b"
transport = "batch"
price_in = 1.25
price_out = 5

[[endpoints]]
name = "judge"
base_url = "simulated"
model = "sim-judge"

[[generators]]
name = "qwen"
endpoint = "qwen"

[judge]
endpoint = "judge"
temperature = 1.0
[ranker]
endpoint = "judge"
[refiner]
endpoint = "judge"
[regenerator]
endpoint = "judge"
[summariser]
endpoint = "judge"
[cutoffs]
easy = 0
medium = 1
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    env = {"REASONMED_BATCH_POLL_S": "0.2", "REASONMED_BATCH_GATHER_S": "0.2"}
    with Instance(tmp_path / "var", **env) as instance:
        instance.import_sample()
        instance.start_simulator()
        config = tmp_path / "run.toml"
        config.write_text(CONFIG)
        instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS), "--config", str(config))
        yield instance


def test_killed_once_prepared(instance: Instance) -> None:
    """The file is on its way: what was written of the batch is sent by the next worker, in one file."""
    slow_down(instance, upload_s=600)
    kill_when(instance, lambda: files(instance) == 1 and instance.count(PREPARED) == 1)
    assert_one_batch(instance)


def test_killed_once_uploaded(instance: Instance) -> None:
    """The file is at the provider, and the batch is refused for now: the same file is used later."""
    slow_down(instance, refuse_create=True)
    kill_when(instance, lambda: instance.count(f"{PREPARED} AND file_id <> '' AND error <> ''") == 1)
    assert not batches(instance)
    assert_one_batch(instance)


def test_killed_once_created_and_not_told(instance: Instance) -> None:
    """The provider has the batch and works on it; the ledger does not know its name."""
    slow_down(instance, create_s=600)
    kill_when(instance, lambda: len(batches(instance)) == 1)
    assert instance.count(f"{PREPARED} AND batch_id = ''") == 1
    assert_one_batch(instance)


def test_killed_while_it_is_away(instance: Instance) -> None:
    slow_down(instance, seconds=5)
    kill_when(instance, lambda: instance.count(f"{SUBMITTED} AND completed > 2") == 1)
    assert_one_batch(instance)


def test_killed_with_half_of_its_results_taken(instance: Instance) -> None:
    """The replies are in the ledger; the file with the lines that failed is still to come."""
    slow_down(instance, content_s=4, fail_lines=0.4)
    kill_when(instance, lambda: instance.count("SELECT count(*) FROM pipeline_batchrequest WHERE done") > 0)
    assert instance.count(SUBMITTED) == 1
    assert instance.count("SELECT count(*) FROM pipeline_batchrequest WHERE NOT done") > 0
    assert_nothing_twice(instance, batches_made=2)


PREPARED = f"SELECT count(*) FROM pipeline_batchjob WHERE lane = '{LANE}' AND state = 'prepared'"
SUBMITTED = f"SELECT count(*) FROM pipeline_batchjob WHERE lane = '{LANE}' AND state = 'submitted'"


def kill_when(instance: Instance, reached: Callable[[], bool]) -> None:
    worker = instance.start("run_pipeline", RUN)

    def there() -> bool:
        assert worker.poll() is None, instance.log("run_pipeline")
        return reached()

    wait_for(there, "the step at which to kill")
    kill(worker)
    slow_down(instance)


def assert_one_batch(instance: Instance) -> None:
    assert_nothing_twice(instance, batches_made=1)


def assert_nothing_twice(instance: Instance, *, batches_made: int) -> None:
    worker = instance.start("run_pipeline", RUN)
    assert worker.wait(400) == 0, instance.log("run_pipeline")
    made = batches(instance)
    assert len(made) == batches_made
    done = sum(batch["request_counts"]["completed"] for batch in made)
    paid, cost = instance.query("SELECT count(*), sum(cost) FROM pipeline_call WHERE endpoint = 'qwen' AND cost > 0")[0]
    assert paid == done == QUESTIONS * SAMPLES
    assert instance.query("SELECT spent, reserved FROM pipeline_runbudget") == [(cost, Decimal(0))]
    assert instance.count("SELECT count(*) FROM reasoning_reasoningpath WHERE origin = 'generated'") == done
    assert instance.count("SELECT count(*) FROM pipeline_call WHERE status = 'unknown'") == 0
    assert instance.stats()["repeats"] == 0
    assert instance.count("SELECT count(*) FROM pipeline_pumplease") == 0
    assert instance.count("SELECT count(*) FROM pipeline_batchjob WHERE state <> 'taken'") == 0
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0


def slow_down(instance: Instance, **batch: Any) -> None:
    """How the provider's Batch API goes from now on; nothing: quick and faultless."""
    body = json.dumps({"batch": batch}).encode()
    with urlopen(Request(f"{instance.simulator}/faults", data=body), timeout=30):
        pass


def batches(instance: Instance) -> list[dict[str, Any]]:
    return listed(instance, "batches?limit=100")


def files(instance: Instance) -> int:
    return len(listed(instance, "files"))


def listed(instance: Instance, what: str) -> list[dict[str, Any]]:
    with urlopen(f"{instance.simulator}/v1/{what}", timeout=30) as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]
    return found
