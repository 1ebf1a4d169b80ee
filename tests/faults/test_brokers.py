"""A run over a real Redis and a real RabbitMQ, served by three worker processes; the broker may die on the way, or lose all
it holds, and a host may be cut off. `-s` shows how many calls each worker made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pika  # type: ignore[import-untyped]
import pytest
import redis

from tests.faults.instance import Instance, free_port, kill, wait_for
from tests.faults.network import Network, can_make_namespaces
from tests.faults.test_kills import OUTPUTS
from workers.broker import QUEUE
from workers.reconciler import ADVISORY_LOCK, PRESENCE_LOCK

pytestmark = pytest.mark.faults
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's /usr/sbin one insists on the system's folders
RUN = "brokered"
QUESTIONS = 96
WORKERS = 3
LEAST_SHARE = 0.05  # of the calls, that each worker makes
START = f"""
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
run = Run.objects.get(name={RUN!r})
for endpoint in run.config["endpoints"]:
    endpoint["max_in_flight"] = {{}}
run.save()
start_run(run=run)
"""
IN_FLIGHT = 6  # of an endpoint: so few that no worker can hold a whole lane
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOLDERS = """
SELECT host(a.client_addr) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted"""
Broker = Callable[[], subprocess.Popen[bytes]]


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_run_over_redis(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with serving(lambda: start_redis(tmp_path, port), port) as broker, with_broker(tmp_path, url) as instance:
        workers = start_run(instance)
        flush_redis(port)  # every wake-up on its way is lost
        wait_for_calls(instance, 150)
        kill_group(broker[0])
        broker[0] = start_redis(tmp_path, port)
        wait_for(lambda: is_listening(port), "the broker's return")
        finish(instance, workers, "Redis")


@pytest.mark.skipif(not RABBITMQ.exists(), reason="rabbitmq-server is not installed")
def test_run_over_rabbitmq(tmp_path: Path) -> None:
    port, dist, epmd = free_port(), free_port(), free_port()
    url = f"amqp://guest:guest@127.0.0.1:{port}/"

    def start() -> subprocess.Popen[bytes]:
        return start_rabbitmq(tmp_path, port, dist, epmd)

    try:
        with serving(start, port) as broker, with_broker(tmp_path, url) as instance:
            workers = start_run(instance)
            purge_rabbitmq(url)
            wait_for_calls(instance, 150)
            kill_group(broker[0])
            broker[0] = start()
            wait_for(lambda: is_listening(port), "the broker's return")
            finish(instance, workers, "RabbitMQ")
    finally:
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], capture_output=True, check=False)


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_hosts_whose_clocks_differ(tmp_path: Path) -> None:
    """Two hours behind, right, two hours ahead, and one dies: leases, waits and wake-ups go by PostgreSQL's clock alone."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with serving(lambda: start_redis(tmp_path, port), port), with_broker(tmp_path, url) as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "200", "--rate-429", "0.1", "--retry-after-s", "1")
        clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
        clock["PYTHONPATH"] = sleep_by_select(tmp_path)
        workers = [
            instance.start("run_workers", REASONMED_WORKER=name, FAKETIME=shift, **clock)
            for name, shift in (("behind", "-2h"), ("right", "+0"), ("ahead", "+2h"))
        ]
        start_run(instance, workers)
        apart = "SELECT max(created_at) - min(created_at) > interval '3 hours' FROM pipeline_call"
        wait_for(lambda: instance.query(apart)[0][0], "calls by the clocks of the first host and the last")
        kill(workers[2])
        workers[2] = instance.start("run_workers", REASONMED_WORKER="ahead", FAKETIME="+2h", **clock)
        wait_for_calls(instance, 200)
        latest = instance.query("SELECT max(not_before) < now() + interval '2 minutes' FROM pipeline_task")
        assert latest[0][0] in (None, True), "a question waits for the clock of a host"
        # the one that died is back when little may be left to do: it has made calls, however few
        finish(instance, workers, "Redis, clocks four hours apart", repeats=None, share=0)


@pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need root and iproute2")
@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_a_host_that_is_cut_off(tmp_path: Path) -> None:
    """Three hosts, each in a network namespace. The one that leads is cut off without a word: PostgreSQL and the others
    notice, take its leases and the lead over, and finish. When its link is back it works again."""
    with Network(WORKERS) as network, Instance(tmp_path / "var") as instance:
        port = free_port()
        database = instance.listen(network.gateway)
        instance.import_sample()
        instance.start_simulator("--latency-ms", "200", host=network.gateway)
        env = {"DATABASE_URL": database, "DRAMATIQ_BROKER_URL": f"redis://{network.gateway}:{port}/0"}
        with serving(lambda: start_redis(tmp_path, port, network.gateway), port, network.gateway):
            workers = [instance.start("run_workers", inside=network.inside(host), **env) for host in range(WORKERS)]
            start_run(instance, workers)
            cut = network.addresses.index(leader_at(instance))
            name = f"host-{cut + 1}"
            wait_for(lambda: name in instance.status(RUN)["workers"], "its first calls")
            network.cut(cut)
            wait_for(lambda: _state(instance) == "finished", f"the end of the run: {instance.log('run_workers')}", 180)
            assert all(lease != network.addresses[cut] for lease in present(instance))
            network.mend(cut)
            wait_for(lambda: network.addresses[cut] in present(instance), "the host that was cut off", 90)
            # what it had sent when it was cut off was paid: it still tells, and nothing of it counts twice
            wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_pumplease") == 0, "its last lease", 60)
            finish(instance, workers, "Redis, a host cut off", repeats=instance.stats()["repeats"], cut_off=name)


def with_broker(folder: Path, url: str) -> Instance:
    return Instance(folder / "var", DRAMATIQ_BROKER_URL=url)


def sleep_by_select(folder: Path) -> str:
    """What PYTHONPATH needs so that Python sleeps under libfaketime: clock_nanosleep, which Python takes, fails there at
    times with EINVAL."""
    place = folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
    )
    return str(place)


def start_run(
    instance: Instance, workers: list[subprocess.Popen[bytes]] | None = None
) -> list[subprocess.Popen[bytes]]:
    """Three workers at work on a run. Without `workers` they are started here, by the names host-1, …"""
    if workers is None:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "200")
        workers = [instance.start("run_workers", REASONMED_WORKER=f"host-{n + 1}") for n in range(WORKERS)]
    wait_for(lambda: instance.log("run_workers").count("Worker ready.") == WORKERS, "the workers")
    wait_for(lambda: len(present(instance)) == WORKERS, "the workers' presence")
    instance.manage("create_run", "--name", RUN, "--limit", str(QUESTIONS))
    instance.manage("shell", "-c", START.format(IN_FLIGHT))
    wait_for_calls(instance, 60)
    return workers


def wait_for_calls(instance: Instance, calls: int) -> None:
    wait_for(lambda: instance.count("SELECT count(*) FROM pipeline_call") >= calls, f"{calls} calls")


def finish(
    instance: Instance,
    workers: list[subprocess.Popen[bytes]],
    title: str,
    *,
    repeats: int | None = 0,
    share: float = LEAST_SHARE,
    cut_off: str = "",
) -> None:
    """Everything is there once, each worker had its share (but the one that was `cut_off` soon), and all of them are well."""
    wait_for(lambda: _state(instance) == "finished", f"the end of the run: {instance.log('run_workers')}", 180)
    assert [worker.poll() for worker in workers] == [None] * WORKERS
    status = instance.status(RUN)
    print(f"\n{title}: {status['calls']} calls, by worker: {status['workers']}")
    assert sum(status["tiers"].values()) == QUESTIONS
    assert status["waiting"] == {}
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
    assert sum(status["workers"].values()) == status["calls"] == instance.count("SELECT count(*) FROM pipeline_call")
    assert len(status["workers"]) == WORKERS
    shares = [made for worker, made in status["workers"].items() if worker != cut_off]
    assert len(shares) == WORKERS - bool(cut_off)
    assert min(shares) >= share * status["calls"], "a worker had hardly anything to do"
    assert repeats is None or instance.stats()["repeats"] <= repeats
    for table, identity in OUTPUTS.items():
        twice = f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {identity} HAVING count(*) > 1) d"
        assert instance.count(twice) == 0, table


def present(instance: Instance) -> list[str]:
    """The workers' addresses, as PostgreSQL sees those that hold the lock of presence; "" over a Unix socket."""
    return [address or "" for (address,) in instance.query(HOLDERS, PRESENCE_LOCK)]


def leader_at(instance: Instance) -> str:
    return str(instance.query(HOLDERS, ADVISORY_LOCK)[0][0])


def flush_redis(port: int) -> None:
    with redis.Redis(port=port) as client:
        client.flushall()


def purge_rabbitmq(url: str) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        connection.channel().queue_purge(QUEUE)


def _state(instance: Instance) -> str:
    return str(instance.query("SELECT state FROM reasoning_run WHERE name = %s", RUN)[0][0])


@contextmanager
def serving(start: Broker, port: int, host: str = "127.0.0.1") -> Iterator[list[subprocess.Popen[bytes]]]:
    """The process is in a list of one, so that a test can put its successor there."""
    broker = [start()]
    try:
        wait_for(lambda: is_listening(port, host), "the broker", 60)
        yield broker
    finally:
        kill_group(broker[0])


def kill_group(broker: subprocess.Popen[bytes]) -> None:
    """RabbitMQ's server is the child of a shell."""
    os.killpg(broker.pid, signal.SIGKILL)
    broker.wait(30)


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def start_redis(folder: Path, port: int, host: str = "127.0.0.1") -> subprocess.Popen[bytes]:
    words = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        host,
        "--dir",
        str(folder),
        "--save",
        "",
        "--protected-mode",
        "no",
    ]
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
