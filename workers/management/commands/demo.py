"""The whole workbench on one machine: database, sample, simulated models, worker and pages, until it is stopped."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from rich.console import Console

from reasonmed_site import file_lock, launch, postgres
from workers.demo import candidate, logins, preflight, queues, sample
from workers.demo.processes import Child, Children, Stopped, die_with_parent, ignore_signals, stop_on_signals

HOST = "127.0.0.1"
RESTARTS = 5  # of a child that ends by itself, before the demo gives up
READY_TIMEOUT = 60.0


class Command(BaseCommand):
    help = (
        "Bring everything up with the shipped sample on simulated models and serve the pages on "
        "http://127.0.0.1:$PORT (8000). Ctrl-C or SIGTERM stops all of it; the next demo goes on where this one stopped."
    )
    requires_system_checks = ()  # the port, the disk and the database speak first

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--stop-with-parent", action="store_true", help="stop when the calling process ends (make)")

    def handle(self, *args: Any, **options: Any) -> None:
        stop_on_signals()
        if options["stop_with_parent"]:
            die_with_parent()
        try:
            with ExitStack() as stack:
                Demo(stack, settings.VAR_DIR).run()
        except (preflight.Refused, launch.Unavailable) as error:
            raise CommandError(str(error), returncode=2) from error
        except Stopped:
            return


class Demo:
    """One run of the demo. What is to be undone at the end is put on `stack`, so it is undone however we end."""

    def __init__(self, stack: ExitStack, var: Path) -> None:
        self.stack = stack
        self.var = var
        self.console = Console(stderr=True, highlight=False)
        self.children = Children(var / "logs")
        self.port = 0
        self.commands: dict[str, list[str]] = {}
        self.env = {**os.environ, "REASONMED_VAR": str(var), "PYTHONUNBUFFERED": "1"}

    def run(self) -> None:
        self.check()
        self.start_database()
        self.prepare_data()
        self.start_servers()
        self.run_sample()
        self.show_around()
        self.serve()

    def check(self) -> None:
        """Refuse before any work is done."""
        if not settings.LOCAL:
            raise preflight.Refused(
                "The demo makes accounts with printed passwords: it does not run with REASONMED_PUBLIC=1."
            )
        self.port = preflight.wanted_port(os.environ.get("PORT", "8000"))
        preflight.check_folder(self.var)
        try:
            self.stack.enter_context(file_lock.held(self.var / "demo.lock", timeout=0))
        except file_lock.LockTimeout as error:
            raise preflight.Refused(
                f"A demo is running already with {self.var}: stop it, or set REASONMED_VAR."
            ) from error
        preflight.check_port_free(self.port, HOST)

    def start_database(self) -> None:
        with self.step("Database"):
            started = launch.ensure_database(self.var, settings.DATABASE_URL)
            if settings.EMBEDDED_POSTGRES and owns_postgres(self.var, started=started):
                self.stack.callback(self.stop_database)
            call_command("migrate", verbosity=0, interactive=False)
        self.stack.callback(self.stop_children)

    def prepare_data(self) -> None:
        with self.step("Sample questions"):
            self.sample_size, _ = sample.import_sample()
        with self.step("Pages' files"):
            call_command("collectstatic", verbosity=0, interactive=False)
        self.logins = logins.ensure_logins(self.var)
        self.sample_run = sample.ensure_run(self.sample_size)

    def start_servers(self) -> None:
        simulator_port = preflight.free_port(HOST)
        self.env["REASONMED_SIMULATOR_URL"] = f"http://{HOST}:{simulator_port}/v1"
        manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
        self.commands = {
            "simulator": [*manage, "simulate_models", "--host", HOST, "--port", str(simulator_port)],
            "web": web_command(self.port),
            "worker": [*manage, "run_workers"],
            "run": [*manage, "run_pipeline", self.sample_run.name],
        }
        with self.step("Simulated models"):
            self.wait_for(self.start("simulator"), simulator_port, "/v1/models")
        with self.step("Pages"):
            self.wait_for(self.start("web"), self.port, "/")
        self.console.print(f"  watch it at [bold]http://{HOST}:{self.port}/[/]")

    def run_sample(self) -> None:
        """Let the sample run finish, its progress on the terminal; a finished, paused or cancelled one is left alone."""
        self.sample_run.refresh_from_db()
        if self.sample_run.state in ("paused", "cancelled", "finished"):
            self.console.print(f"  the run “{self.sample_run.name}” is {self.sample_run.state}")
            return
        child = self.start("run", to_terminal=True)
        while child.process.poll() is None:
            self.keep_alive(but=child)
            time.sleep(0.2)
        self.children.forget(child)
        if child.process.returncode:
            self.console.print(
                f"[red]The sample run ended early (exit code {child.process.returncode}).[/] The pages stay up."
            )

    def show_around(self) -> None:
        """Something to judge and to look at, once there are records."""
        self.sample_run.refresh_from_db()
        if self.sample_run.state == "finished":
            with self.step("Review queues"):
                queues.ensure_queues(self.sample_run)
            with self.step("Candidate export"):
                candidate.ensure_candidate(self.sample_run)

    def serve(self) -> None:
        """Keep what was started alive until a signal comes."""
        self.start("worker")
        self.announce()
        while True:
            self.keep_alive()
            time.sleep(0.5)

    def start(self, name: str, *, to_terminal: bool = False) -> Child:
        return self.children.start(name, self.commands[name], self.env, sys.stderr if to_terminal else None)

    def keep_alive(self, but: Child | None = None) -> None:
        """Start again what ended by itself, a few times; then give up."""
        for child in self.children.ended():
            if child is but:
                continue
            self.children.forget(child)
            self.restarts = getattr(self, "restarts", 0) + 1
            log = self.children.log_folder / f"{child.name}.log"
            if self.restarts > RESTARTS:
                raise CommandError(f"The {child.name} keeps ending (exit code {child.process.returncode}): see {log}")
            self.console.print(
                f"[red]The {child.name} ended (exit code {child.process.returncode})[/]; starting it again. Log: {log}"
            )
            time.sleep(1)
            self.start(child.name)

    def wait_for(self, child: Child, port: int, path: str) -> None:
        """Until the child answers over HTTP with anything but a server error."""
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline and child.process.poll() is None:
            if http_status(port, path) < 500:
                return
            time.sleep(0.1)
        log = self.children.log_folder / f"{child.name}.log"
        raise CommandError(f"The {child.name} did not come up: {last_line(log)} (full log: {log})")

    def announce(self) -> None:
        print(f"\nReasonMed Workbench is at http://{HOST}:{self.port}/\n", flush=True)
        for login in self.logins:
            secret = login.password or "(its own password; manage.py changepassword sets another)"
            print(f"  {login.name:<12} {secret:<16} {login.purpose}", flush=True)
        print("\nThe models are simulated: nothing here is a medical statement. Stop with Ctrl-C.", flush=True)

    def stop_children(self) -> None:
        ignore_signals()
        if self.children.running:
            self.console.print("Stopping …")
        self.children.stop()

    def stop_database(self) -> None:
        ignore_signals()
        connections.close_all()
        postgres.stop(self.var)
        (self.var / POSTGRES_MARK).unlink(missing_ok=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        with self.console.status(f"{name} …"):
            yield
        self.console.print(f"[green]✓[/] {name} [dim]{time.monotonic() - began:.1f} s[/]")


POSTGRES_MARK = "demo_postgres"


def owns_postgres(var: Path, *, started: bool) -> bool:
    """Whether the private server is the demo's to stop: this one started it, or one that was killed before it could."""
    server = postgres.running(var)
    identity = f"{server.pid} {server.create_time()}" if server else ""
    mark = var / POSTGRES_MARK
    if started:
        mark.write_text(identity)
        return True
    return mark.exists() and mark.read_text() == identity


def web_command(port: int) -> list[str]:
    return [
        sys.executable, "-m", "gunicorn", "reasonmed_site.wsgi:application",
        "--chdir", str(settings.BASE_DIR), "--bind", f"{HOST}:{port}", "--no-control-socket",
        "--worker-class", "gthread", "--workers", "2", "--threads", "8", "--timeout", "120",
        "--graceful-timeout", "5", "--log-level", "warning",
    ]  # fmt: skip


def http_status(port: int, path: str) -> int:
    """The status of a GET on this machine; 599 when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 599
    finally:
        connection.close()


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1] if lines else "it said nothing"
