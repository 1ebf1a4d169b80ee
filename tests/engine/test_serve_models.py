"""`serve_models` with the real vLLM: it is killed in the middle of a run over its served endpoint and comes back."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.engine.runs import RUN, assert_whole, create_run, endpoint, serve_table, write_config
from tests.engine.vllm_server import ENV, PYTHON, VllmServer
from tests.faults.instance import Instance, wait_for

pytestmark = pytest.mark.engine
QUESTIONS = 3


def test_a_served_model_is_killed_in_the_middle_of_a_run(instance: Instance, vllm: VllmServer) -> None:
    instance.env.update(ENV, REASONMED_VLLM_PYTHON=str(PYTHON))
    serve = serve_table(vllm.model) | {"adapters": {"tuned": str(vllm.adapter)}}
    served = endpoint("served", base_url="served", max_in_flight=4, serve=serve)
    config = write_config(instance.var, served, generators="served", rest="served")
    create_run(instance, config, QUESTIONS)
    supervisor = instance.start("serve_models", str(config), "--poll", "0.5")
    worker = instance.start("run_pipeline", RUN)
    wait_for(
        lambda: instance.count("SELECT count(*) FROM pipeline_call") >= 5, f"calls: {instance.log('serve_models')}"
    )
    for process in psutil.Process(supervisor.pid).children(recursive=True):
        if process.name().startswith("VLLM::EngineCore"):
            process.kill()
    wait_for(lambda: instance.query("SELECT restarts FROM pipeline_modelserver") == [(1,)], "a restart")
    assert worker.wait(300) == 0, instance.log("run_pipeline")
    assert_whole(instance, QUESTIONS)
    [(state, metrics)] = instance.query("SELECT state, metrics FROM pipeline_modelserver")
    assert state == "ready"
    assert metrics["tokens_out"] > 0
    below = psutil.Process(supervisor.pid).children(recursive=True)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0, instance.log("serve_models")
    assert below
    assert not psutil.wait_procs(below, timeout=10)[1], "vLLM's processes outlive serve_models"
