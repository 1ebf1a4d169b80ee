"""The web server and two workers, started exactly as the Procfile and the systemd units say: they serve and end when asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.instance import ROOT, Instance, free_port, kill, wait_for
from workers.management.commands.demo import http_status

pytestmark = pytest.mark.faults
START = "from apps.pipeline.services import start_run; from apps.reasoning.models import Run; start_run(run=Run.objects.get())"


def procfile() -> dict[str, list[str]]:
    lines = dict(line.split(": ", 1) for line in (ROOT / "docker" / "Procfile").read_text().splitlines())
    return {"web": [lines["web"]], "worker": [lines["worker"]] * 2}


def units() -> dict[str, list[str]]:
    return {"web": [_unit("reasonmed-web", "")], "worker": [_unit("reasonmed-worker@", n) for n in "12"]}


def _unit(name: str, instance: str) -> str:
    """ExecStart with its Environment, as systemd would run it for the checkout that stands here."""
    text = (ROOT / "docker" / "systemd" / f"{name}.service").read_text()
    environment = " ".join(re.findall(r"^Environment=(.+)$", text, re.MULTILINE))
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    names = [word for word in environment.split() if not word.startswith(("REASONMED_VAR=", "PORT="))]
    line = f"env {' '.join(names)} {command}" if names else command
    return line.replace("%H", "this-host").replace("%i", instance).replace("/srv/reasonmed/app/", "")


@pytest.mark.parametrize("lines", [procfile, units], ids=["Procfile", "systemd"])
def test_what_is_written_down_starts(tmp_path: Path, lines: Callable[[], dict[str, list[str]]]) -> None:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        instance.start_simulator("--latency-ms", "20")
        instance.manage("collectstatic", "--noinput", "--verbosity", "0")
        instance.manage("create_run", "--name", "as-written", "--limit", "5")
        instance.manage("shell", "-c", START)
        port = free_port()
        started = {kind: [_start(instance, line, port) for line in found] for kind, found in lines().items()}
        try:
            wait_for(lambda: http_status(port, "/health/") == 200, "the web server", 120)
            wait_for(lambda: instance.query("SELECT state FROM reasoning_run") == [("finished",)], "the run")
            for process in (*started["worker"], *started["web"]):
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
        finally:
            for process in (*started["worker"], *started["web"]):
                if process.poll() is None:
                    kill(process)
        if lines is units:
            assert set(instance.status("as-written")["workers"]) <= {"this-host-1", "this-host-2"}


def _start(instance: Instance, line: str, port: int) -> subprocess.Popen[bytes]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = line.replace(".venv/bin/", "")  # wherever the environment is
    with (instance.var / "written.log").open("ab") as log:
        return subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            cwd=ROOT,
            env={**instance.env, "PATH": path, "PORT": str(port)},
            stdout=log,
            stderr=log,
        )
