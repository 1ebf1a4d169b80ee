"""The whole pipeline on the real vLLM over HTTP, and a kill of all of vLLM in the middle."""

from __future__ import annotations

import pytest

from tests.engine.runs import RUN, assert_whole, create_run, endpoint, write_config
from tests.engine.vllm_server import MODEL, VllmServer
from tests.faults.instance import Instance, wait_for

pytestmark = pytest.mark.engine
QUESTIONS = 5


def test_every_stage_on_the_real_server(instance: Instance, vllm: VllmServer) -> None:
    """Which answers and verdicts come is chance: a question may end ready, excluded or waiting."""
    start_run(instance, vllm, in_flight=16)
    assert_whole(instance, QUESTIONS)
    done = dict(instance.query("SELECT stage, count(*) FROM pipeline_call WHERE status = 'ok' GROUP BY stage"))
    assert {"generate", "verify", "rank", "reverify", "summarise"} <= set(done), done
    assert {"refine", "regenerate"} & set(done), done
    assert_verdicts_by_schema(instance)
    assert_calls_are_told(instance)


def assert_verdicts_by_schema(instance: Instance) -> None:
    """Random weights write no JSON by themselves: that every finished reply is valid JSON is the schema's doing."""
    judged = instance.count(
        "SELECT count(*) FROM reasoning_verdict WHERE label IN ('correct', 'error') AND reason <> ''"
    )
    assert judged == instance.count("SELECT count(*) FROM pipeline_call WHERE stage ~ 'verify' AND status = 'ok'") > 0
    labels = {row[0] for row in instance.query("SELECT DISTINCT label FROM reasoning_verdict")}
    assert labels >= {"correct", "error"}
    rejected = "SELECT DISTINCT error FROM pipeline_call WHERE stage IN ('verify', 'reverify', 'rank') AND error_class = 'schema'"
    assert {row[0] for row in instance.query(rejected)} <= {"the verdict does not agree with its axes"}


def assert_calls_are_told(instance: Instance) -> None:
    """Tokens, model and server of each call that was answered; the prompt's beginning came from the prefix cache."""
    answered = "FROM pipeline_call WHERE status = 'ok'"
    assert instance.count(f"SELECT count(*) {answered} AND NOT (tokens_in > 0 AND tokens_out > 0)") == 0
    assert {row[0] for row in instance.query(f"SELECT DISTINCT model {answered}")} == {MODEL}
    assert all(row[0].startswith("vllm-") for row in instance.query(f"SELECT DISTINCT fingerprint {answered}"))
    verified = "SELECT coalesce(sum(tokens_cached), 0) FROM pipeline_call WHERE stage = 'verify' AND status = 'ok'"
    assert instance.count(verified) > 0


def test_the_server_is_killed_in_the_middle_and_comes_back(instance: Instance, vllm: VllmServer) -> None:
    worker = instance.start("run_pipeline", configured(instance, vllm, in_flight=4))
    wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_call") >= 10, "calls")
    vllm.kill()
    lost = "SELECT count(*) FROM pipeline_call WHERE error_class = 'connection'"
    wait_for(lambda: instance.count(lost) > 0, "calls that the kill took")
    assert worker.poll() is None
    vllm.start()
    assert worker.wait(400) == 0, instance.log("run_pipeline")
    assert_whole(instance, QUESTIONS)
    assert instance.count("SELECT count(*) FROM pipeline_failure WHERE error_class IN ('connection', 'server')") == 0


def start_run(instance: Instance, vllm: VllmServer, *, in_flight: int) -> None:
    worker = instance.start("run_pipeline", configured(instance, vllm, in_flight=in_flight))
    assert worker.wait(300) == 0, instance.log("run_pipeline")


def configured(instance: Instance, vllm: VllmServer, *, in_flight: int) -> str:
    served = endpoint("vllm", base_url=f"{vllm.url}/v1", max_in_flight=in_flight)
    create_run(instance, write_config(instance.var, served, generators="vllm", rest="vllm"), QUESTIONS)
    return RUN
