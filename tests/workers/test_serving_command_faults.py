"""`manage.py serve_models` as a process: kills, take-overs, and three models that share one device to the end of a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.instance import ROOT, Instance, kill, wait_for
from tests.workers.serving import fake_python, tell
from workers.serving.processes import kill_leftovers, leftovers

pytestmark = pytest.mark.faults
QUICK = ("--poll", "0.5", "--grace", "1", "--switch-empty", "1", "--switch-least", "4", "--switch-longest", "3")
CONFIG = """
{endpoints}
{generators}
[judge]
endpoint = "judge"
[ranker]
endpoint = "judge"
[refiner]
endpoint = "judge"
[regenerator]
endpoint = "judge"
[summariser]
endpoint = "judge"
[cutoffs]
easy = 1
medium = 2
"""


class Serving:
    """An instance with a configuration of fake models in `folder`."""

    def __init__(self, instance: Instance, folder: Path, names: list[str], **serve: Any) -> None:
        self.instance, self.names = instance, names
        self.models = {name: folder / name for name in names}
        self.config = folder / "run.toml"
        self.replicas = int(serve.get("replicas", 1))
        settings = "".join(f"{key} = {value!r}\n" for key, value in serve.items())
        endpoints = "".join(
            f'[[endpoints]]\nname = "{n}"\nbase_url = "served"\nmodel = "{self.models[n]}"\n[endpoints.serve]\n{settings}'
            for n in names
        )
        generators = "".join(f'[[generators]]\nname = "{n}"\nendpoint = "{n}"\n' for n in names if n != "judge")
        self.config.write_text(CONFIG.format(endpoints=endpoints, generators=generators))
        self.instance.env["REASONMED_VLLM_PYTHON"] = str(fake_python(folder))

    def start(self) -> subprocess.Popen[bytes]:
        self.supervisor = self.instance.start("serve_models", str(self.config), *QUICK)
        return self.supervisor

    def states(self) -> list[str]:
        return [
            row[0] for row in self.instance.query("SELECT state FROM pipeline_modelserver ORDER BY endpoint, replica")
        ]

    def until_ready(self, restarts: int = 0) -> None:
        def all_ready() -> bool:
            found = self.instance.query(
                "SELECT state, restarts FROM pipeline_modelserver WHERE host LIKE %s", f"%:{self.supervisor.pid}:%"
            )
            return (
                len(found) == self.replicas * len(self.names)
                and {state for state, _ in found} == {"ready"}
                and sum(n for _, n in found) == restarts
            )

        wait_for(all_ready, f"ready servers: {self.instance.log('serve_models')}", 60)

    def alive(self) -> list[psutil.Process]:
        return [process for mark in self.marks() for process in leftovers(mark, None)]

    def marks(self) -> list[str]:
        return [f"{self.instance.var}|default|{name}|{n}" for name in self.names for n in range(self.replicas)]

    def try_another(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "manage.py", "serve_models", str(self.config), *QUICK],
            cwd=ROOT, env=self.instance.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("serving") / "var") as instance:
        yield instance


@pytest.fixture
def judges(instance: Instance, tmp_path: Path) -> Iterator[Serving]:
    """Two replicas of a judge, and whatever a test left of them gone."""
    instance.query("DELETE FROM pipeline_modelserver RETURNING id")
    serving = Serving(instance, tmp_path, ["writer", "judge"], replicas=2)
    yield serving
    for process in instance.processes:
        if process.poll() is None:
            kill(process)
    for mark in serving.marks():
        kill_leftovers(mark, None)


def test_killed_servers_come_back_and_a_signal_stops_all(judges: Serving) -> None:
    supervisor = judges.start()
    judges.until_ready()
    victims = [p for p in judges.alive() if any(word.endswith("fake_vllm.py") for word in p.cmdline())]
    assert len(victims) == 4
    victims[0].kill()
    judges.until_ready(restarts=1)
    assert sum(p.is_running() for p in victims) == 3, "its neighbours were left alone"
    urls = {row[0] for row in judges.instance.query("SELECT url FROM pipeline_modelserver")}
    assert len(urls) == 4
    code, said = judges.try_another()
    assert code == 2
    assert "writer/0 is looked after by another serve_models already" in said
    assert judges.states() == ["ready"] * 4
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert judges.alive() == []
    assert judges.states() == ["stopped"] * 4


def test_a_killed_supervisor_takes_its_servers_along_and_the_next_starts_at_once(judges: Serving) -> None:
    supervisor = judges.start()
    judges.until_ready()
    kill(supervisor)
    assert judges.states() == ["ready"] * 4, "nobody was there to write anything else"
    before = {process.pid for process in judges.alive()}
    judges.start()
    wait_for(lambda: before.isdisjoint(process.pid for process in judges.alive()), "the end of the old servers", 30)
    judges.until_ready()
    assert len(judges.alive()) == 4 * 3


def test_nothing_is_left_of_a_killed_supervisor(judges: Serving) -> None:
    supervisor = judges.start()
    judges.until_ready()
    kill(supervisor)
    wait_for(lambda: not judges.alive(), "the end of the servers", 30)


def test_the_database_may_go_and_come_back(judges: Serving) -> None:
    judges.start()
    judges.until_ready()
    before = {process.pid for process in judges.alive()}
    judges.instance.postmaster().send_signal(signal.SIGKILL)
    wait_for(lambda: "the servers go on" in judges.instance.log("serve_models"), "the outage noticed", 60)
    judges.instance.manage("migrate", "--verbosity", "0")  # starts it again
    judges.instance.query("UPDATE pipeline_modelserver SET seen_at = now() - interval '1 hour' RETURNING id")
    fresh = (
        "SELECT count(*) FROM pipeline_modelserver WHERE seen_at > now() - interval '30 seconds' AND state = 'ready'"
    )
    wait_for(lambda: judges.instance.count(fresh) == 4, "heartbeats", 60)
    assert before == {process.pid for process in judges.alive()}


def test_three_models_take_turns_until_the_run_is_done(instance: Instance, tmp_path: Path) -> None:
    instance.query("DELETE FROM pipeline_modelserver RETURNING id")
    instance.import_sample()
    instance.start_simulator()
    serving = Serving(instance, tmp_path, ["writer", "rival", "judge"], rotate="node")
    for model in serving.models.values():
        tell(model, forward=f"{instance.simulator}/v1", device=str(tmp_path / "device"), start_s=0.3)
    log = instance.var / "serve_models.log"
    log.unlink(missing_ok=True)
    supervisor = serving.start()
    instance.manage("create_run", "--name", "turns", "--config", str(serving.config), "--limit", "12")
    worker = instance.start("run_pipeline", "turns")
    assert worker.wait(240) == 0, instance.log("run_pipeline")
    status = instance.status("turns")
    assert status["questions"] == 12
    assert status["waiting"] == {}
    assert turns_in(log) == ["writer", "rival", "judge"]
    assert instance.count("SELECT sum(restarts) FROM pipeline_modelserver") == 0, "two held the device at once"
    assert instance.count("SELECT count(*) FROM pipeline_failure") == 0
    failed = instance.query("SELECT error_class, count(*) FROM pipeline_call WHERE error_class <> '' GROUP BY 1")
    assert {error_class for error_class, _ in failed} <= {"schema"}
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(30) == 0
    assert serving.alive() == []


def test_a_model_that_does_not_come_up_gives_way(instance: Instance, tmp_path: Path) -> None:
    """The judge's turn comes although a generator never starts, and the generator's again when it can."""
    instance.query("DELETE FROM pipeline_modelserver RETURNING id")
    instance.import_sample()
    if not instance.simulator:
        instance.start_simulator()
    serving = Serving(instance, tmp_path, ["writer", "rival", "judge"], rotate="node")
    for model in serving.models.values():
        tell(model, forward=f"{instance.simulator}/v1", device=str(tmp_path / "device"))
    tell(serving.models["writer"], fail="the weights are not there")
    log = instance.var / "serve_models.log"
    log.unlink(missing_ok=True)
    supervisor = serving.start()
    instance.manage("create_run", "--name", "gives-way", "--config", str(serving.config), "--limit", "3")
    worker = instance.start("run_pipeline", "gives-way")
    wait_for(lambda: turns_in(log)[:3] == ["writer", "rival", "judge"], f"turns, not {turns_in(log)}", 90)
    tell(serving.models["writer"], forward=f"{instance.simulator}/v1", device=str(tmp_path / "device"))
    assert worker.wait(120) == 0, instance.log("run_pipeline")
    assert instance.status("gives-way")["waiting"] == {}
    assert turns_in(log)[3:5] == ["writer", "judge"]
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 0


def turns_in(log: Path) -> list[str]:
    text = log.read_text() if log.exists() else ""
    return [line.split()[1] for line in text.splitlines() if "has its turn" in line]
