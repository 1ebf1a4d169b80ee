"""PostgreSQL restarted under load, far away and slow, stalled, cut: the run goes on, and no call is made twice for it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasonmed_site import postgres
from tests.faults.instance import Instance, wait_for
from tests.faults.proxy import Proxy
from tests.faults.test_kills import OUTPUTS

pytestmark = pytest.mark.faults
RUN = "restarted"
QUESTIONS = 30
STALLED_S = 12.0
START = f"""
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
start_run(run=Run.objects.get(name={RUN!r}))
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "200")
        instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
        instance.manage("shell", "-c", START)
        yield instance


def test_postgresql_restarted_under_load(instance: Instance) -> None:
    """Fast (sessions are ended) and immediate (as a crash, with recovery). What had been answered waits until it is back."""
    worker = instance.start("run_workers")
    for calls, how in ((60, signal.SIGINT), (250, signal.SIGQUIT)):
        wait_for_calls(instance, calls)
        server = instance.postmaster()
        server.send_signal(how)
        server.wait(60)
        time.sleep(1)
        postgres.start(instance.var)
    wait_for_end(instance)
    assert worker.poll() is None, instance.log("run_workers")
    assert instance.stats()["repeats"] == 0
    assert instance.stats()["received"] == instance.count("SELECT count(*) FROM pipeline_call")


def test_a_slow_stalled_and_cut_way_to_postgresql(instance: Instance) -> None:
    with Proxy(str(postgres.socket_dir(instance.var) / ".s.PGSQL.5432")) as way:
        worker = instance.start(
            "run_workers", DATABASE_URL=f"postgresql://postgres@127.0.0.1:{way.port}/{postgres.DATABASE}"
        )
        wait_for_calls(instance, 40)
        way.delay_s = 0.03  # each way, each piece
        wait_for_calls(instance, 120)
        way.delay_s = 0.0
        way.stall()
        time.sleep(STALLED_S)
        way.resume()
        wait_for_calls(instance, 300)
        assert way.cut() > 0
        wait_for_end(instance)
        assert worker.poll() is None, instance.log("run_workers")
    assert instance.stats()["repeats"] == 0


def wait_for_calls(instance: Instance, calls: int) -> None:
    wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_call") >= calls, f"{calls} calls")


def wait_for_end(instance: Instance) -> None:
    """Everything told, nothing twice, no drift."""
    wait_for(
        lambda: instance.query("SELECT state FROM reasoning_run") == [("finished",)],
        f"the end of the run: {instance.log('run_workers')}",
    )
    status = instance.status(RUN)
    assert sum(status["tiers"].values()) == QUESTIONS
    assert status["waiting"] == {}
    assert sum(status["workers"].values()) == status["calls"]
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
    for table, identity in OUTPUTS.items():
        twice = f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {identity} HAVING count(*) > 1) d"
        assert instance.count(twice) == 0, table
