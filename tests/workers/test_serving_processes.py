"""A server's processes, killed in every way: it comes back, and nothing of it is ever left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from tests.workers.serving import fake_python, served_endpoint, tell
from workers.serving.command import MARK_ENV
from workers.serving.processes import ServerProcess, kill_leftovers, leftovers
from workers.serving.replica import Backoff, Replica, Timing, free_port

pytestmark = pytest.mark.faults
PATIENCE_S = 60
QUICK = Timing(
    poll_s=0.2, start_poll_s=0.1, start_timeout_s=30, progress_s=0.3, hang_checks=3, first_pause_s=0.1, grace_s=1.0
)


class Server:
    """A replica of the fake vLLM, its rows and words kept in lists."""

    def __init__(self, folder: Path, timing: Timing = QUICK, **serve: Any) -> None:
        self.model = folder / "model"
        self.mark = f"{folder}|judge|0"
        self.states: list[str] = []
        self.said: list[str] = []
        self.stop = asyncio.Event()
        self.replica = Replica(
            served_endpoint(model=str(self.model), **serve),
            0,
            0,
            python=str(fake_python(folder)),
            mark=self.mark,
            log=folder / "judge-0.log",
            advertise="127.0.0.1",
            timing=timing,
            publish=self.publish,
            say=self.said.append,
            environ={"PATH": os.environ["PATH"], "JUDGE_API_KEY": "the-key"},
        )

    async def publish(self, replica: Replica) -> None:
        state = str(replica.status.fields()["state"])
        if self.states[-1:] != [state]:
            self.states.append(state)

    async def until(self, happened: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                assert not self.running.done() or self.running.result() is None
                await asyncio.sleep(0.02)

    async def until_ready(self, restarts: int = 0) -> None:
        await self.until(
            lambda: self.status.state == "ready" and self.status.restarts == restarts,
            f"ready after {restarts} restarts",
        )

    @property
    def status(self) -> Any:
        return self.replica.status

    def alive(self) -> list[psutil.Process]:
        return leftovers(self.mark, None)

    def process(self, words: str) -> psutil.Process:
        found = [p for p in self.alive() if words in " ".join(p.cmdline())]
        assert len(found) == 1, f"{words}: {found}"
        return found[0]


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Server]:
    server = Server(folder, **options)
    server.running = asyncio.ensure_future(server.replica.run(server.stop))
    try:
        yield server
    finally:
        server.stop.set()
        await server.running
        assert server.alive() == []


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    mark = f"{tmp_path}|judge|0"
    left = leftovers(mark, None)
    kill_leftovers(mark, None)
    assert left == []


async def test_up_and_down_again(tmp_path: Path) -> None:
    async with running(tmp_path, api_key_env="JUDGE_API_KEY") as server:
        await server.until_ready()
        await server.until(lambda: server.status.metrics, "metrics")
        assert server.status.metrics["kv_use"] == 0.25
        assert server.status.url == f"http://127.0.0.1:{server.replica.port}/v1"
        assert server.status.pid == server.process("guard.py").pid
        assert len(server.alive()) == 3
        assert "fake vLLM" in server.status.log_tail
        assert "the-key" not in " ".join(word for process in server.alive() for word in process.cmdline())
    assert server.states == ["starting", "ready", "stopped"]
    assert (server.status.pid, server.status.url, server.status.metrics) == (None, "", {})


@pytest.mark.parametrize("victim", ["fake_vllm.py", "guard.py"])
async def test_kill_of_the_server_or_its_guard(tmp_path: Path, victim: str) -> None:
    async with running(tmp_path) as server:
        await server.until_ready()
        before = {p.pid for p in server.alive()}
        server.process(victim).kill()
        await server.until_ready(restarts=1)
        assert before.isdisjoint(p.pid for p in server.alive())
        assert "ended with code 137" in server.status.last_error
    assert server.states == ["starting", "ready", "down", "starting", "ready", "stopped"]


async def test_a_server_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, timing=replace(QUICK, poll_s=0.1)) as server:
        await server.until_ready()
        tell(server.model, hang=True)
        await server.until(lambda: server.status.state == "down", "the hang found")
        tell(server.model)
        await server.until_ready(restarts=1)
        assert server.status.last_error == "hung: 3 health checks unanswered"


async def test_a_stopped_process_hangs_too(tmp_path: Path) -> None:
    async with running(tmp_path, timing=replace(QUICK, poll_s=0.1)) as server:
        await server.until_ready()
        server.process("fake_vllm.py").send_signal(signal.SIGSTOP)
        await server.until_ready(restarts=1)


async def test_a_start_that_fails_says_why_and_is_tried_again(tmp_path: Path) -> None:
    tell(tmp_path / "model", fail="the weights are not there")
    async with running(tmp_path) as server:
        await server.until(lambda: server.replica.failing, "three starts in vain")
        assert server.status.last_error == "ended with code 1: ValueError: the weights are not there"
        assert "ready" not in server.states
        tell(server.model)
        await server.until(lambda: server.status.state == "ready", "ready")
        assert not server.replica.failing


async def test_a_start_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    tell(tmp_path / "model", start_s=50)
    async with running(tmp_path, timing=replace(QUICK, start_timeout_s=1.0)) as server:
        await server.until(lambda: server.status.state == "down", "given up")
        assert server.status.last_error == "not ready after 1 s"
    assert any("starting for" in said and "fake vLLM" in said for said in server.said)


async def test_a_server_that_offers_another_model_is_not_ready(tmp_path: Path) -> None:
    tell(tmp_path / "model", name="another")
    async with running(tmp_path, timing=replace(QUICK, start_timeout_s=1.5)) as server:
        await server.until(lambda: server.status.state == "down", "given up")
        assert "ready" not in server.states
        tell(server.model)
        await server.until_ready(restarts=1)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        server.replica.python = str(tmp_path / "nowhere")
        await server.until(lambda: server.status.restarts, "a failed start")
        assert server.status.last_error.startswith("ended with code 127: ")
        assert "No such file" in server.status.last_error


async def test_a_port_that_is_taken_is_never_taken_for_ours(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    (tmp_path / "health").write_text("")
    with another_server(tmp_path, port):
        async with running(tmp_path, port=port) as server:
            await server.until(lambda: server.status.restarts, "a failed start")
            assert server.status.last_error == f"port {port} of 127.0.0.1 is taken by another process"
            assert "starting" not in server.states


async def test_the_port_stays_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await server.until_ready()
        before = server.status.url
        with suppress(OSError, urllib.error.HTTPError):
            await asyncio.to_thread(
                urllib.request.urlopen, urllib.request.Request(f"{before[:-3]}/die", b"{}"), timeout=5
            )
        await server.until_ready(restarts=1)
        assert server.status.url == before


async def test_stopping_while_it_starts(tmp_path: Path) -> None:
    tell(tmp_path / "model", start_s=50)
    async with running(tmp_path) as server:
        await server.until(lambda: server.states == ["starting"], "a start")
    assert server.states == ["starting", "stopped"]


@contextmanager
def another_server(folder: Path, port: int) -> Iterator[None]:
    """Something else that answers /health."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        yield
        other.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


ENVIRON = {"PATH": os.environ["PATH"]}
STARTER = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from workers.serving.processes import ServerProcess

async def main():
    env = dict(os.environ, **{{{mark_env!r}: {mark!r}}})
    argv = [{python!r}, "-m", "x", "--port", "{port}", "--model", "m", "--served-model-name", "m"]
    await ServerProcess.start(argv, env, Path({log!r}), mark={mark!r}, grace_s=1)
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_one_who_started_it(tmp_path: Path, number: int) -> None:
    mark = f"{tmp_path}|judge|0"
    script = STARTER.format(
        root=str(Path(__file__).parents[2]), mark_env=MARK_ENV, mark=mark, python=str(fake_python(tmp_path)),
        port=free_port("127.0.0.1"), log=str(tmp_path / "log"),
    )  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        wait_until(lambda: len(leftovers(mark, None)) == 3)
        starter.send_signal(number)
    wait_until(lambda: not leftovers(mark, None))


async def test_what_a_killed_guard_leaves_is_found_by_its_session_too(tmp_path: Path) -> None:
    """A process that gave itself another title may have overwritten its environment, and so its mark."""
    engine = f"env -i {sys.executable} -c 'import time; time.sleep(600)' VLLM::EngineCore & wait"
    process = await ServerProcess.start(["/bin/sh", "-c", engine], ENVIRON, tmp_path / "log", mark="titled")

    def engines() -> list[psutil.Process]:
        return [
            found
            for found in leftovers("titled", process.pid)
            if found.name().startswith("python") and found.pid != process.pid
        ]

    wait_until(lambda: len(engines()) == 1)
    left = engines()[0]
    (shell,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    await process.exited()
    wait_until(lambda: not shell.is_running() or shell.status() == psutil.STATUS_ZOMBIE)  # by the kernel
    assert left.is_running()
    await process.stop()
    assert not left.is_running()


async def test_logs_rotate_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.serving.processes.LOG_BYTES", 10_000)
    chatter = [sys.executable, "-c", "for n in range(20000): print(f'line {n:06}')"]
    process = await ServerProcess.start(chatter, ENVIRON, tmp_path / "log", mark="chatter")
    assert await process.exited() == 0
    check_rotated(tmp_path)


def check_rotated(folder: Path) -> None:
    names = ("log.4", "log.3", "log.2", "log.1", "log")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert all(path.stat().st_size < 10_000 + 65_536 for path in folder.iterdir())
    text = "".join((folder / name).read_text() for name in names)
    numbers = [int(line.split()[1]) for line in text.splitlines()[1:] if line.startswith("line ")]
    assert numbers == list(range(numbers[0], 20_000)), "lines were lost or moved"


def test_pauses_grow_to_a_minute_and_start_over() -> None:
    backoff = Backoff(Timing())
    assert [backoff.after(0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.after(119) == 60
    assert [backoff.after(120), backoff.after(5)] == [1, 2]


def wait_until(happened: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_S * 20):
        if happened():
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("waited in vain")
