"""A run over a real Redis and a real RabbitMQ, served by two worker processes; the broker may die on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.instance import Instance, free_port, wait_for

pytestmark = pytest.mark.faults
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's /usr/sbin one insists on the system's folders
RUN = "brokered"
QUESTIONS = 20
START = f"""
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
start_run(run=Run.objects.get(name={RUN!r}))
"""
Broker = Callable[[], subprocess.Popen[bytes]]


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_run_over_redis(tmp_path: Path) -> None:
    port = free_port()
    with serving(lambda: start_redis(tmp_path, port), port) as broker:
        run_with_two_workers(tmp_path, f"redis://127.0.0.1:{port}/0", port, broker, lambda: start_redis(tmp_path, port))


@pytest.mark.skipif(not RABBITMQ.exists(), reason="rabbitmq-server is not installed")
def test_run_over_rabbitmq(tmp_path: Path) -> None:
    port, dist, epmd = free_port(), free_port(), free_port()

    def start() -> subprocess.Popen[bytes]:
        return start_rabbitmq(tmp_path, port, dist, epmd)

    try:
        with serving(start, port) as broker:
            run_with_two_workers(tmp_path, f"amqp://guest:guest@127.0.0.1:{port}/", port, broker, start)
    finally:
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], capture_output=True, check=False)


def run_with_two_workers(
    folder: Path, url: str, port: int, broker: list[subprocess.Popen[bytes]], restart: Broker
) -> None:
    """The broker loses everything in the middle: it holds wake-ups alone, so the run goes on when it is back."""
    with Instance(folder / "var", DRAMATIQ_BROKER_URL=url) as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "50")
        workers = [instance.start("run_workers") for _ in range(2)]
        wait_for(lambda: instance.log("run_workers").count("Worker ready.") == 2, "two workers")
        instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
        instance.manage("shell", "-c", START)
        wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_call") > 20, "calls")
        kill_group(broker[0])
        broker[0] = restart()
        wait_for(lambda: is_listening(port), "the broker's return")
        wait_for(lambda: _state(instance) == "finished", f"the end of the run: {instance.log('run_workers')}", 120)
        assert [worker.poll() for worker in workers] == [None, None]
        status = instance.status(RUN)
        assert sum(status["tiers"].values()) == QUESTIONS
        assert status["waiting"] == {}
        assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
        assert instance.stats()["repeats"] == 0


def _state(instance: Instance) -> str:
    return str(instance.query("SELECT state FROM reasoning_run WHERE name = %s", RUN)[0][0])


@contextmanager
def serving(start: Broker, port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The process is in a list of one, so that a test can put its successor there."""
    broker = [start()]
    try:
        wait_for(lambda: is_listening(port), "the broker", 60)
        yield broker
    finally:
        kill_group(broker[0])


def kill_group(broker: subprocess.Popen[bytes]) -> None:
    """RabbitMQ's server is the child of a shell."""
    os.killpg(broker.pid, signal.SIGKILL)
    broker.wait(30)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_redis(folder: Path, port: int) -> subprocess.Popen[bytes]:
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def start_rabbitmq(folder: Path, port: int, dist: int, epmd: int) -> subprocess.Popen[bytes]:
    home = folder / "rabbitmq"
    home.mkdir(exist_ok=True)
    (home / "plugins").write_text("[].\n")
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\n")
    env = {
        **os.environ,
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",  # lets epmd be ended
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
    }
    with (home / "out.log").open("ab") as log:
        return subprocess.Popen([str(RABBITMQ)], env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)
