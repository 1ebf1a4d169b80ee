"""The way to the models is slow, stalled without a word (half-open), or cut: no question is lost, none is set aside."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.faults.instance import Instance, wait_for
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.faults
RUN = "far"
QUESTIONS = 20
TIMEOUT_S = 4  # of a call, that a half-open connection ends with
STALLED_S = 12.0
START = f"""
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
run = Run.objects.get(name={RUN!r})
for endpoint in run.config["endpoints"]:
    endpoint["timeout_s"] = {TIMEOUT_S}
run.save()
start_run(run=run)
"""


def test_a_slow_stalled_and_cut_way_to_the_models(tmp_path: Path) -> None:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "100")
        with Proxy(("127.0.0.1", int(instance.simulator.rsplit(":", 1)[1]))) as way:
            instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
            instance.manage("shell", "-c", START)
            worker = instance.start("run_workers", REASONMED_SIMULATOR_URL=f"http://127.0.0.1:{way.port}/v1")
            wait_for_outputs(instance, 40)
            way.delay_s = 0.3
            wait_for_outputs(instance, 90)
            way.delay_s = 0.0
            way.stall()
            time.sleep(STALLED_S)
            way.resume()
            wait_for_outputs(instance, 200)
            assert way.cut() > 0
            wait_for(
                lambda: instance.query("SELECT state FROM reasoning_run") == [("finished",)],
                f"the end of the run: {instance.log('run_workers')}",
            )
            assert worker.poll() is None
        status = instance.status(RUN)
        assert sum(status["tiers"].values()) == QUESTIONS
        assert status["waiting"] == {}
        assert instance.count("SELECT count(*) FROM pipeline_failure") == 0
        assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
        assert instance.count("SELECT count(*) FROM pipeline_call WHERE error LIKE 'no answer within%%'") > 0
        longest = instance.count("SELECT max(latency_ms) FROM pipeline_call")
        assert longest < 1000 * (TIMEOUT_S + 4), "a call hung on a half-open connection"


def wait_for_outputs(instance: Instance, outputs: int) -> None:
    wait_for(
        lambda: instance.count("SELECT count(*) FROM pipeline_call WHERE status = 'ok'") >= outputs,
        f"{outputs} outputs: {instance.log('run_workers')}",
    )
