"""A workbench of its own for a test: folder, database, simulated models and worker processes that can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg

from reasonmed_site import postgres

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0


class Instance:
    """A context manager: everything it started is gone at its end."""

    def __init__(self, var: Path, **env: str) -> None:
        self.var = var
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")}
        self.env = {**inherited, "REASONMED_VAR": str(var), "DRAMATIQ_BROKER_URL": "", **env}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.simulator = ""

    def __enter__(self) -> Instance:
        self.var.mkdir(parents=True, exist_ok=True)
        self.manage("migrate", "--verbosity", "0")
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                kill(process)
        postgres.stop(self.var)

    def manage(self, *words: str) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr[-3000:]}"
        return done.stdout

    def start(self, *words: str, inside: tuple[str, ...] = (), **env: str) -> subprocess.Popen[bytes]:
        """A command left running, `inside` another one that goes on as it; what it says goes to a file in the folder."""
        with (self.var / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [*inside, sys.executable, "manage.py", *words],
                cwd=ROOT,
                env=self.env | env,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def log(self, command: str) -> str:
        return (self.var / f"{command}.log").read_text()[-3000:]

    def start_simulator(self, *options: str, host: str = "127.0.0.1") -> None:
        port = free_port()
        self.start("simulate_models", "--host", host, "--port", str(port), *options)
        self.simulator = f"http://{host}:{port}"
        self.env["REASONMED_SIMULATOR_URL"] = f"{self.simulator}/v1"
        wait_for(self._simulator_answers, "the simulated models")

    def _simulator_answers(self) -> bool:
        try:
            return bool(self.stats())
        except OSError:
            return False

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.simulator}/stats", timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def import_sample(self) -> None:
        self.manage("shell", "-c", "from workers.demo.sample import import_sample; import_sample()")

    def status(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manage("run_status", run, "--json"))
        return found

    def query(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres.url(self.var)) as connection:
            return connection.execute(sql.encode(), params).fetchall()

    def count(self, sql: str, *params: object) -> int:
        return int(self.query(sql, *params)[0][0])

    def listen(self, address: str) -> str:
        """PostgreSQL on TCP too, for whoever reaches that address; returns the URL there."""
        data = self.var / "pgdata"
        with (data / "postgresql.conf").open("a") as config:
            config.write(f"\nlisten_addresses = '{address}'\n")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("\nhost all all samenet trust\n")
        postgres.stop(self.var)
        postgres.start(self.var)
        return f"postgresql://postgres@{address}:5432/{postgres.DATABASE}"

    def postmaster(self) -> psutil.Process:
        found = postgres.running(self.var)
        assert found is not None
        return found


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def wait_for(happened: Callable[[], bool], what: str, patience: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
