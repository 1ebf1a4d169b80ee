"""kill -9 over everything, again and again, while runs go on: workers, broker, PostgreSQL, model server, web server.

`make test-faults` runs it with 100 kills and more than 10,000 calls, REASONMED_STORM_KILLS and REASONMED_STORM_CALLS make
it shorter or a night long; REASONMED_STORM_REPORT names a file for the table. Models are simulated; they sleep.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import redis

from reasonmed_site import postgres
from tests.faults.instance import Instance, free_port, kill, wait_for
from tests.faults.test_brokers import is_listening, kill_group, start_redis
from tests.faults.test_kills import OUTPUTS
from tests.faults.test_review import Web
from workers.management.commands.demo import http_status

pytestmark = [
    pytest.mark.storm,
    pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed"),
]
KILLS = int(os.environ.get("REASONMED_STORM_KILLS", "100"))
CALLS = int(os.environ.get("REASONMED_STORM_CALLS", "10000"))
SEED = int(os.environ.get("REASONMED_STORM_SEED", "7"))
WORKERS = 3
WEIGHTS = {"worker": 10, "broker": 3, "postgres": 2, "models": 3, "web": 2}  # of kill -9
FAULTS = {"broker flushed": "flush", "postgres restarted": "restart"}  # one between every six kills
CUTTING = ("worker", "postgres", "models")  # whose death cuts calls off
PAUSE_S = (0.5, 3.0)  # between two kills
LATENCY = ("--latency-ms", "1500")
START = """
from django.core.management import call_command
from apps.pipeline.services import start_run
from apps.reasoning.models import Run
call_command("create_run", name={0!r})
start_run(run=Run.objects.get(name={0!r}))
"""


@dataclass
class Storm:
    """What runs, and what has been done to it.

    `flying`: requests in flight an instant before each kill that cuts calls off, summed; `peak`: the most of them at one.
    """

    instance: Instance
    web: Web
    redis_port: int
    broker: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    killed: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    runs: list[str] = field(default_factory=list)
    flying: int = 0
    peak: int = 0
    repeats: int = 0  # seen by models that are gone; a life sees only its own
    random: random.Random = field(default_factory=lambda: random.Random(SEED))

    def new_run(self) -> None:
        name = f"storm-{len(self.runs) + 1}"
        self.instance.manage("shell", "-c", START.format(name))
        self.runs.append(name)

    def left(self) -> int:
        return self.instance.count("SELECT count(*) FROM pipeline_task WHERE state <> 'idle'")

    def calls(self) -> int:
        return self.instance.count("SELECT count(*) FROM pipeline_call")

    def strike(self) -> str:
        """One of each first, then by weight."""
        never = [target for target in WEIGHTS if not self.killed[target]]
        target = never[-1] if never else self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if target in CUTTING:
            in_flight = int(self.instance.stats()["in_flight"])
            self.flying, self.peak = self.flying + in_flight, max(self.peak, in_flight)
        getattr(self, f"kill_{target}")()
        self.killed[target] += 1
        if self.killed.total() % 6 == 0:
            fault = list(FAULTS)[self.other.total() % len(FAULTS)]
            getattr(self, FAULTS[fault])()
            self.other[fault] += 1
        return target

    def flush(self) -> None:
        """Every wake-up on its way is lost."""
        with redis.Redis(port=self.redis_port) as client:
            client.flushall()

    def restart(self) -> None:
        """As an operator does it: sessions are ended, and what was answered meanwhile is written after it."""
        server = self.instance.postmaster()
        server.send_signal(signal.SIGINT)
        server.wait(60)
        postgres.start(self.instance.var)

    def kill_worker(self) -> None:
        place = self.random.randrange(len(self.workers))
        assert self.workers[place].poll() is None, f"a worker ended by itself: {self.instance.log('run_workers')}"
        kill(self.workers[place])
        self.workers[place] = self.instance.start("run_workers")

    def kill_broker(self) -> None:
        kill_group(self.broker)
        time.sleep(self.random.uniform(0, 1))
        self.broker = start_redis(self.instance.var, self.redis_port)
        wait_for(lambda: is_listening(self.redis_port), "Redis", 30)

    def kill_postgres(self) -> None:
        """The whole server at once, as a machine that stops; it is started again by who needs it."""
        postmaster = self.instance.postmaster()
        for process in [postmaster, *postmaster.children(recursive=True)]:
            process.kill()
        postmaster.wait(30)
        postgres.start(self.instance.var)
        wait_for(self.database_answers, "PostgreSQL")
        for place, worker in enumerate(
            self.workers
        ):  # a worker may give up without its database; a supervisor starts it
            if worker.poll() is not None:
                self.workers[place] = self.instance.start("run_workers")

    def database_answers(self) -> bool:
        try:
            with psycopg.connect(postgres.url(self.instance.var), connect_timeout=5) as connection:
                return connection.execute("SELECT 1").fetchone() is not None
        except psycopg.OperationalError:
            return False

    def kill_models(self) -> None:
        self.repeats += int(self.instance.stats()["repeats"])
        simulator = next(p for p in reversed(self.instance.processes) if p.args[2] == "simulate_models")  # type: ignore[index]
        port = self.instance.simulator.rsplit(":", 1)[1]
        kill(simulator)
        time.sleep(self.random.uniform(0, 2))
        self.instance.start("simulate_models", "--port", port, *LATENCY)
        wait_for(self.instance._simulator_answers, "the simulated models")

    def kill_web(self) -> None:
        self.wait_for_web()
        self.web.kill()
        self.web.start()

    def wait_for_web(self) -> None:
        wait_for(lambda: http_status(self.web.port, "/health/live/") == 200, "the web server")

    def rest(self) -> None:
        time.sleep(self.random.uniform(*PAUSE_S))
        for place, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[place] = self.instance.start("run_workers")


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    port = free_port()
    var = tmp_path / "var"
    var.mkdir()
    broker = start_redis(var, port)
    with Instance(var, DRAMATIQ_BROKER_URL=f"redis://127.0.0.1:{port}/0") as instance:
        instance.import_sample()
        instance.start_simulator(*LATENCY)
        web = Web(instance)
        web.start()
        workers = [instance.start("run_workers") for _ in range(WORKERS)]
        storm = Storm(instance, web, port, broker, workers)
        try:
            storm.wait_for_web()
            yield storm
        finally:
            web.kill()
            kill_group(storm.broker)


def test_nothing_is_lost_in_a_storm(storm: Storm) -> None:
    while sum(storm.killed.values()) < KILLS or storm.calls() < CALLS:
        if storm.left() < 60:
            storm.new_run()
        if sum(storm.killed.values()) < KILLS:
            storm.strike()
        storm.rest()
    last = time.monotonic()
    wait_for(lambda: storm.left() == 0 and unfinished(storm) == 0, "the end of the runs", 600)
    report(storm, drained=time.monotonic() - last)
    storm.wait_for_web()
    assert doubled(storm) == 0
    assert lost(storm) == 0
    assert json.loads(storm.instance.manage("check_ledger", "--json"))["drift"] == 0
    # a reply that was there and not yet written (a second's worth) is asked for again too, so the sum is no bound
    cutting = sum(storm.killed[target] for target in CUTTING)
    assert storm.repeats + storm.instance.stats()["repeats"] <= storm.peak * cutting
    assert storm.instance.count("SELECT count(*) FROM pipeline_pumplease") == 0


def unfinished(storm: Storm) -> int:
    return storm.instance.count("SELECT count(*) FROM reasoning_run WHERE state <> 'finished'")


def doubled(storm: Storm) -> int:
    """Outputs of which there is more than one."""
    return sum(
        storm.instance.count(
            f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {identity} HAVING count(*) > 1) twice"
        )
        for table, identity in OUTPUTS.items()
    )


def lost(storm: Storm) -> int:
    """Paths that should be there and are not, and questions without a tier."""
    questions = storm.instance.count("SELECT count(*) FROM reasoning_runquestion")
    paths = storm.instance.count("SELECT count(*) FROM reasoning_reasoningpath WHERE origin = 'generated'")
    told = sum(sum(storm.instance.status(run)["tiers"].values()) for run in storm.runs)
    return 9 * questions - paths + questions - told


def report(storm: Storm, *, drained: float) -> None:
    """The table, for docs/faults.md."""
    instance = storm.instance
    rows = {
        "kill -9, verified": f"{sum(storm.killed.values())}: "
        + ", ".join(f"{n} {target}" for target, n in sorted(storm.killed.items())),
        "between them": ", ".join(f"{n} {fault}" for fault, n in sorted(storm.other.items())) or "nothing",
        "runs, questions": f"{len(storm.runs)}, {instance.count('SELECT count(*) FROM reasoning_runquestion'):,}",
        "calls booked": f"{storm.calls():,}",
        "outputs lost": str(lost(storm)),
        "outputs written twice": str(doubled(storm)),
        "calls repeated, as the models saw it": f"{storm.repeats + instance.stats()['repeats']} "
        f"(in flight an instant before the kills, summed: {storm.flying}; at most {storm.peak} at one)",
        "from the last kill to the last output": f"{drained:.0f} s",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    print(table)
    if path := os.environ.get("REASONMED_STORM_REPORT"):
        Path(path).write_text(table + "\n")
