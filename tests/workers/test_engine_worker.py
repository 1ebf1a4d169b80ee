"""The offline lane without vLLM: engines that answer from a script, on a real ledger. tests/engine has the real one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from django.db import connection

from apps.pipeline.config import ConfigError, EndpointConfig, ServeConfig, parse_config
from apps.pipeline.models import Call, Failure, PumpLease, Task
from apps.pipeline.protocol import HeldBackError, ModelError, Request
from apps.pipeline.services import create_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Run
from tests.factories import make_project, make_question
from workers import engine_worker
from workers.backends import vllm_engine
from workers.backends.vllm_engine import Engine, EngineError, Engines, VllmEngine
from workers.engine_worker import EngineWorker
from workers.reconciler import lanes_with_work
from workers.simulation import addresses_of, make_backend

QUESTIONS = 2
PATIENCE_S = 30.0


class ScriptedEngine(Engine):
    """`answers` gives (status, message text) for the n-th request; what was started is in `log`."""

    answers: Callable[[int], tuple[int, str]] = staticmethod(lambda number: (200, "So it is.\nFinal answer: A"))
    log: list[str] = []
    asked = 0

    async def _open(self) -> None:
        model = self._options[self._options.index("--model") + 1]
        if model == "broken":
            raise OSError("broken: no such model\nand more")
        self.model = model
        self._client = SimpleNamespace(errored=False)
        type(self).log.append(f"start {model}")
        self._opened.callback(type(self).log.append, f"stop {model}")

    async def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        type(self).asked += 1
        status, text = type(self).answers(type(self).asked)
        if text == "never":
            await asyncio.sleep(PATIENCE_S)
        if status != 200:
            return status, json.dumps({"error": {"message": text}}).encode()
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
        message = {"content": text, "reasoning": "thought"}
        choice = {"message": message, "finish_reason": "stop"}
        return 200, json.dumps({"model": body["model"], "choices": [choice], "usage": usage}).encode()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedEngine]:
    class Fresh(ScriptedEngine):
        log: list[str] = []
        asked = 0

    monkeypatch.setattr(vllm_engine, "Engine", Fresh)
    monkeypatch.setattr(engine_worker, "PERIOD_S", 0.02)
    monkeypatch.setattr(engine_worker, "FIRST_PAUSE_S", 0.01)
    return Fresh


def offline(name: str = "offline", *, model: str = "tiny", rotate: str = "", timeout_s: float = 60) -> EndpointConfig:
    serve = ServeConfig(model=f"/models/{model}" if model != "broken" else model, rotate=rotate)
    return EndpointConfig(
        name=name, base_url="served", model=model, transport="engine", serve=serve, timeout_s=timeout_s
    )


def new_run(*endpoints: EndpointConfig, name: str = "offline") -> Run:
    """Each endpoint is a generator of as many paths as make nine or more; the other stages are simulated."""
    data = {
        "endpoints": [e.model_dump(mode="json") for e in endpoints]
        + [{"name": n, "base_url": "simulated", "model": n} for n in ("judge", "writer")],
        "generators": [
            {"name": e.name, "endpoint": e.name, "temperatures": [0.1 * n for n in range(9)]} for e in endpoints
        ],
    }
    run = create_run(project=make_project(), name=name, config=parse_config(data))
    start_run(run=run)
    return run


@pytest.fixture
def questions(transactional_db: None) -> None:
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which measure comes first?", key=0)


def work_until(happened: Callable[[], bool], *only: str) -> list[str]:
    """A worker in a thread until something happened; what it said."""
    said: list[str] = []
    failed: list[BaseException] = []
    worker = EngineWorker(frozenset(only), threading.Event(), said.append)

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not happened() and not failed and time.monotonic() < deadline:
        time.sleep(0.02)
    reached = happened()
    worker.stop.set()
    thread.join(PATIENCE_S)
    if failed:
        raise failed[0]
    assert reached, said
    return said


def idle(run: Run, name: str) -> Callable[[], bool]:
    return lambda: not Task.objects.filter(run=run, lane=f"generate@{name}").exclude(state="idle").exists()


@pytest.mark.usefixtures("questions")
def test_the_lane_is_worked_off_into_the_same_ledger(scripted: type[ScriptedEngine]) -> None:
    run = new_run(offline())
    said = work_until(idle(run, "offline"))
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * 9 == scripted.asked
    call = Call.objects.filter(run=run).latest("created_at")
    assert (call.endpoint, call.model, call.tokens_in, call.tokens_out, call.tokens_cached) == (
        "offline",
        "tiny",
        9,
        4,
        8,
    )
    assert ReasoningPath.objects.filter(run=run, raw__contains="thought").exists()
    assert scripted.log == ["start /models/tiny", "stop /models/tiny"]
    assert said[0].startswith("offline: loading")
    assert not PumpLease.objects.exists()
    assert check_run(run) == []


@pytest.mark.usefixtures("questions")
def test_other_workers_leave_the_lane_alone(scripted: type[ScriptedEngine]) -> None:
    new_run(offline())
    assert Task.objects.filter(lane="generate@offline", state="ready").exists()
    assert lanes_with_work() == {}
    assert addresses_of(offline()) == ["served"]
    with pytest.raises(HeldBackError, match="run_engine"):
        asyncio.run(make_backend().complete(request()))


@pytest.mark.usefixtures("questions")
def test_only_the_endpoints_named_are_served(scripted: type[ScriptedEngine]) -> None:
    run = new_run(offline("a", model="one"), offline("b", model="two"))
    work_until(idle(run, "b"), "b")
    assert scripted.log == ["start /models/two", "stop /models/two"]
    assert Task.objects.filter(lane="generate@a", state="ready").count() == QUESTIONS


@pytest.mark.usefixtures("questions")
@pytest.mark.slow
def test_engines_of_a_group_take_turns(scripted: type[ScriptedEngine]) -> None:
    run = new_run(offline("a", model="one", rotate="node"), offline("b", model="two", rotate="node"))
    work_until(lambda: idle(run, "a")() and idle(run, "b")())
    assert scripted.log == ["start /models/one", "stop /models/one", "start /models/two", "stop /models/two"]
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * 18


@pytest.mark.slow
@pytest.mark.usefixtures("questions")
def test_a_dead_engine_is_started_again_and_nothing_is_lost(scripted: type[ScriptedEngine]) -> None:
    engines: list[ScriptedEngine] = []

    def die(number: int) -> tuple[int, str]:
        if number == 5:
            engines[0]._client.errored = True
            return 500, "EngineCore died"
        return 200, "So it is.\nFinal answer: A"

    opened = scripted._open

    async def note(self: ScriptedEngine) -> None:
        await opened(self)
        engines.append(self)

    scripted._open = note
    scripted.answers = staticmethod(die)
    run = new_run(offline())
    said = work_until(idle(run, "offline"))
    assert "offline: vLLM died; it is started again" in said
    assert len(engines) == 2
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * 9
    assert Call.objects.filter(run=run, error_class="server").exists()
    assert not Failure.objects.exists()
    assert check_run(run) == []


@pytest.mark.usefixtures("questions")
def test_an_engine_that_does_not_start_ends_the_worker_with_its_words(scripted: type[ScriptedEngine]) -> None:
    new_run(offline(model="broken"))
    with pytest.raises(EngineError, match=r"^offline: vLLM does not start: broken: no such model$"):
        work_until(lambda: False)
    assert not Task.objects.filter(state="leased").exists()
    assert not PumpLease.objects.exists()


@pytest.mark.usefixtures("questions")
def test_it_ends_when_no_running_run_has_such_a_lane(scripted: type[ScriptedEngine]) -> None:
    EngineWorker(frozenset(), threading.Event(), print).run(until_finished=True)
    assert scripted.log == []


def request(endpoint: EndpointConfig | None = None) -> Request:
    return Request(endpoint or offline(), [{"role": "user", "content": "x"}], 10)


def ask(scripted: type[ScriptedEngine], answer: tuple[int, str], endpoint: EndpointConfig) -> ModelError:
    scripted.answers = staticmethod(lambda number: answer)
    engines = Engines()
    engines.start(endpoint)
    try:
        with pytest.raises(ModelError) as raised:
            asyncio.run(VllmEngine(engines).complete(request(endpoint)))
        return raised.value
    finally:
        engines.stop_all()


@pytest.mark.parametrize(
    ("status", "error_class"), [(400, "refused"), (404, "access"), (500, "server"), (503, "server")]
)
def test_errors_are_those_of_the_server(scripted: type[ScriptedEngine], status: int, error_class: str) -> None:
    error = ask(scripted, (status, "max_tokens is too large"), offline())
    assert (error.error_class, error.status) == (error_class, status)
    assert "max_tokens is too large" in error.message


def test_a_call_without_an_answer_is_given_up_in_time(scripted: type[ScriptedEngine]) -> None:
    error = ask(scripted, (200, "never"), offline(timeout_s=0.1))
    assert (error.error_class, error.message, error.maybe_billed) == ("connection", "no answer within 0.1 s", True)


def test_a_call_whose_engine_is_not_up_is_held_back() -> None:
    with pytest.raises(HeldBackError, match="not up"):
        asyncio.run(VllmEngine(Engines()).complete(request()))


def test_endpoints_with_the_same_options_share_an_engine(scripted: type[ScriptedEngine]) -> None:
    engines = Engines()
    engine = engines.start(offline("a"))
    assert engines.find(offline("b")) is engine
    assert engines.find(offline("c", model="other")) is None
    engines.stop_all()
    assert engines.find(offline("a")) is None


def test_an_engine_needs_a_serve_table() -> None:
    endpoint = {"name": "offline", "base_url": "http://127.0.0.1:8000/v1", "model": "m", "transport": "engine"}
    with pytest.raises(ConfigError, match="serve"):
        parse_config({"endpoints": [endpoint]})


WATCHED = """
import subprocess, sys, time
from workers.serving.warden import start_warden
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
other = subprocess.Popen(["sleep", "600"], start_new_session=True)
warden = start_warden()
print(child.pid, other.pid, warden.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_the_warden_ends_python_processes_that_a_killed_parent_left() -> None:
    parent = subprocess.Popen([sys.executable, "-c", WATCHED], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, other, warden = (psutil.Process(int(word)) for word in parent.stdout.readline().split())
    try:
        assert child.is_running()
        parent.kill()
        assert not psutil.wait_procs([child, warden], timeout=PATIENCE_S)[1]
        assert other.is_running(), "it ended a program that is not Python"
    finally:
        parent.wait(10)
        other.kill()
