"""kill -9 of a worker in the middle of a priced run: every call that the models got is in the books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.faults.instance import Instance, kill, wait_for

pytestmark = pytest.mark.faults
RUN = "priced"
MODELS = ("qwen2.5-72b", "r1-distill-70b", "huatuogpt-o1-70b", "judge", "writer")
KILLS = 3
HARD = Decimal(4000)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "30")
        yield instance


def test_a_kill_loses_no_money_from_the_books(instance: Instance, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(priced_toml())
    instance.manage("create_run", "--name", RUN, "--config", str(config), "--limit", "40")
    unknown = 0
    for number in range(1, KILLS + 1):
        worker = instance.start("run_pipeline", RUN)

        def reached(booked: int = number * 150) -> bool:
            assert worker.poll() is None, instance.log("run_pipeline")  # noqa: B023
            return calls(instance) >= booked and instance.stats()["in_flight"] > 0

        wait_for(reached, "calls in flight")
        kill(worker)
        wait_for(lambda: instance.stats()["in_flight"] == 0, "the requests left behind")
    worker = instance.start("run_pipeline", RUN)
    assert worker.wait(400) == 0, instance.log("run_pipeline")
    unknown = instance.count("SELECT count(*) FROM pipeline_call WHERE status = 'unknown'")
    assert unknown > 0, "no call was in flight at any kill: the test proves nothing"
    assert calls(instance) >= instance.stats()["received"], "a call that the models got is missing in the books"
    assert instance.count("SELECT count(*) FROM pipeline_reservation") == 0
    spent, called = instance.query("SELECT spent, (SELECT sum(cost) FROM pipeline_call) FROM pipeline_runbudget")[0]
    assert spent == called <= HARD
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
    assert instance.status(RUN)["state"] == "finished"


def calls(instance: Instance) -> int:
    return instance.count("SELECT count(*) FROM pipeline_call")


def priced_toml() -> str:
    endpoints = [
        f'[[endpoints]]\nname = "{name}"\nbase_url = "simulated"\nmodel = "sim-{name}"\nprice_in = "1"\nprice_out = "4"\n'
        for name in MODELS
    ]
    return "\n".join((f'[budget]\nhard = "{HARD}"\n', *endpoints))
