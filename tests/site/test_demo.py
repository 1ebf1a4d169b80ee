"""The demo as people start and stop it: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reasonmed_site import postgres, settings
from workers.demo import preflight, sample
from workers.management.commands.demo import http_status

pytestmark = pytest.mark.faults


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "var"
    yield folder
    postgres.stop(folder)


class RunningDemo:
    """A demo that inherited SIGINT and SIGTERM as ignored, as under `nohup … &` in a script."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, preflight.free_port()
        self.log = var.parent / "demo.log"
        environment = {**os.environ, "REASONMED_VAR": str(var), "PORT": str(self.port), "DATABASE_URL": ""}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "demo"], cwd=settings.BASE_DIR, env=environment,
                stdout=log, stderr=log, start_new_session=True, preexec_fn=ignore_signals,
            )  # fmt: skip

    def wait_for(self, text: str, seconds: float = 240) -> str:
        deadline = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return self.log.read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything alive that was started for this var folder, told by its environment or its working folder."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("REASONMED_VAR") == str(self.var) or process.cwd() == str(
                    self.var / "pgdata"
                )
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def test_one_signal_stops_everything_and_the_next_demo_goes_on(var: Path) -> None:
    demo = RunningDemo(var)
    demo.wait_for("watch it at")
    names = " ".join(" ".join(process.cmdline()) for process in demo.processes())
    assert "gunicorn" in names
    assert "simulate_models" in names
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(60) == 0
    assert demo.processes() == []
    logins = (var / "demo_logins.json").read_text()
    assert (var / "demo_logins.json").stat().st_mode & 0o077 == 0

    again = RunningDemo(var)
    said = again.wait_for("Stop with Ctrl-C")
    assert f"http://127.0.0.1:{again.port}/" in said
    assert http_status(again.port, "/login/") == 200
    assert json.loads(logins)["curator"] in said
    status = subprocess.run(
        [sys.executable, "manage.py", "run_status", sample.RUN_NAME, "--json"],
        cwd=settings.BASE_DIR, env={**os.environ, "REASONMED_VAR": str(var), "DATABASE_URL": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(status.stdout)["state"] == "finished"
    second = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=settings.BASE_DIR, env={**os.environ, "REASONMED_VAR": str(var), "PORT": str(preflight.free_port())},
        capture_output=True, text=True,
    )  # fmt: skip
    assert second.returncode == 2
    assert "running already" in second.stderr
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(60) == 0
    assert again.processes() == []


def test_kill_9_of_the_demo_takes_its_children_and_the_next_one_stops_the_server_too(var: Path) -> None:
    demo = RunningDemo(var)
    demo.wait_for("watch it at")
    demo.process.kill()
    demo.process.wait()
    assert wait_until(lambda: all(process.name().startswith("postgres") for process in demo.processes()))
    again = RunningDemo(var)
    again.wait_for("watch it at")
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(60) == 0
    assert again.processes() == []


def wait_until(holds, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return True
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    return False
