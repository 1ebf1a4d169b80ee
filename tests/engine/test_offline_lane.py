"""A run whose generators are vLLM in a worker's own process: `run_engine`, in the environment that has it."""

from __future__ import annotations

import subprocess

import psutil
import pytest

from tests.engine.runs import RUN, assert_each_path_once, assert_whole, create_run, endpoint, serve_table, write_config
from tests.engine.vllm_server import ENV, MODEL, PYTHON, VllmServer
from tests.faults.instance import ROOT, Instance, free_port, kill, wait_for

pytestmark = pytest.mark.engine
QUESTIONS = 4
MANY = 20  # a lane long enough to be killed in the middle
START = f"""
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
start_run(run=Run.objects.get(name={RUN!r}))
"""


def test_a_run_with_its_generators_in_the_worker(instance: Instance, vllm: VllmServer) -> None:
    served = endpoint("vllm", base_url=f"{vllm.url}/v1", max_in_flight=16)
    offline = endpoint(
        "offline", base_url="served", transport="engine", max_in_flight=16, serve=serve_table(vllm.model)
    )
    create_run(instance, write_config(instance.var, offline, served, generators="offline", rest="vllm"), QUESTIONS)
    pipeline = instance.start("run_pipeline", RUN)
    wait_for(lambda: "run_engine" in instance.log("run_pipeline"), "the word that a lane waits for run_engine")
    assert instance.count("SELECT count(*) FROM pipeline_call") == 0, "an ordinary worker took the engine's lane"
    engine = start_engine(instance, "--until-finished")
    wait_for(lambda: calls(instance, engine) > 0, "calls through the engine")
    below = psutil.Process(engine.pid).children(recursive=True)
    assert pipeline.wait(300) == 0, instance.log("run_pipeline")
    assert engine.wait(60) == 0, instance.log("run_engine")
    assert below
    assert not psutil.wait_procs(below, timeout=10)[1], "vLLM's processes outlive the worker"
    assert_whole(instance, QUESTIONS)
    told = "SELECT DISTINCT endpoint, model, left(fingerprint, 5) FROM pipeline_call WHERE stage = 'generate' AND status = 'ok'"
    assert instance.query(told) == [("offline", MODEL, "vllm-")]
    generated = "FROM pipeline_call WHERE stage = 'generate' AND status = 'ok'"
    assert instance.count(f"SELECT count(*) {generated} AND NOT (tokens_in > 0 AND tokens_out > 0)") == 0
    assert instance.count(f"SELECT sum(tokens_cached) {generated}") > 0


def test_a_killed_worker_leaves_no_engine_and_its_work_to_the_next(instance: Instance, vllm: VllmServer) -> None:
    """The generators' lane alone: its judge is never up."""
    offline = endpoint("offline", base_url="served", transport="engine", max_in_flight=1, serve=serve_table(vllm.model))
    nowhere = endpoint("nowhere", base_url=f"http://127.0.0.1:{free_port()}/v1")
    create_run(instance, write_config(instance.var, offline, nowhere, generators="offline", rest="nowhere"), MANY)
    instance.manage("shell", "-c", START)
    engine = start_engine(instance)
    wait_for(lambda: calls(instance, engine) >= 4, "calls through the engine")
    below = psutil.Process(engine.pid).children(recursive=True)
    kill(engine)
    assert instance.count("SELECT count(*) FROM pipeline_task WHERE state = 'leased'") > 0, (
        "it died with nothing in hand"
    )
    assert not psutil.wait_procs(below, timeout=20)[1], "vLLM's processes outlive the worker"
    engine = start_engine(instance)
    done = "SELECT count(*) FROM pipeline_task WHERE lane = 'generate@offline' AND state <> 'idle'"
    wait_for(lambda: calls(instance, engine) > 0 and instance.count(done) == 0, "the end of the lane")
    engine.terminate()
    assert engine.wait(60) == 0, instance.log("run_engine")
    assert_each_path_once(instance, MANY)


def test_an_engine_that_cannot_start_says_why(instance: Instance, vllm: VllmServer) -> None:
    offline = endpoint(
        "offline", base_url="served", transport="engine", serve=serve_table(vllm.model) | {"model": "/no/such/model"}
    )
    create_run(instance, write_config(instance.var, offline, generators="offline", rest="offline"), 1)
    instance.manage("shell", "-c", START)
    engine = start_engine(instance)
    assert engine.wait(120) == 2
    assert "offline: vLLM does not start" in instance.log("run_engine")
    assert instance.count("SELECT count(*) FROM pipeline_task WHERE state = 'leased'") == 0
    assert instance.count("SELECT count(*) FROM pipeline_pumplease") == 0


def start_engine(instance: Instance, *options: str) -> subprocess.Popen[bytes]:
    words = [str(PYTHON), "manage.py", "run_engine", *options]
    with (instance.var / "run_engine.log").open("ab") as log:
        process = subprocess.Popen(words, cwd=ROOT, env={**instance.env, **ENV}, stdout=log, stderr=log)
    instance.processes.append(process)
    return process


def calls(instance: Instance, engine: subprocess.Popen[bytes]) -> int:
    assert engine.poll() is None, instance.log("run_engine")
    return instance.count("SELECT count(*) FROM pipeline_call")
