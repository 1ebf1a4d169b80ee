"""`manage.py run_pipeline RUN`: works on a run with a worker of its own until nothing is left."""

from __future__ import annotations

import signal
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from apps.pipeline.config import RunConfig
from apps.pipeline.lanes import STAGES, engine_lanes
from apps.pipeline.run_commands import find_run, refuse
from apps.pipeline.services import RunError, start_run
from apps.reasoning.models import Run, RunState
from apps.reasoning.selectors import run_counters, run_status


class Command(BaseCommand):
    help = "Work on a run until nothing is left to do. Stop it at any time; it goes on where it stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.embedded import embedded_worker

        run = find_run(options["run"])
        try:
            start_run(run=run)
        except RunError as error:
            refuse(str(error))
        interrupted = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: interrupted.set())
        if lanes := engine_lanes(RunConfig.model_validate(run.config)):
            self.stderr.write(f"{run.name}: {', '.join(lanes)}: worked on where manage.py run_engine runs, not here.")
        with embedded_worker():
            watch(run, interrupted)
        run.refresh_from_db()
        status = run_status(run)
        self.stderr.write(
            f"{run.name}: {run.state}. {status['exported_ready']:,} ready, {sum(status['excluded'].values()):,} excluded,"
            f" {sum(status['waiting'].values()):,} waiting; {status['calls']:,} calls, {status['failed_calls']:,} failed attempts."
        )
        if interrupted.is_set():
            sys.exit(130)


def watch(run: Run, interrupted: threading.Event) -> None:
    """Show progress on standard error until the run stops running or someone interrupts."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    last_line = 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}
        while not interrupted.is_set():
            run.refresh_from_db()
            counters = run_counters(run)
            totals = expected(run, counters)
            for stage in STAGES:
                if totals[stage] and stage not in bars:
                    bars[stage] = progress.add_task(stage, total=totals[stage])
                if stage in bars:
                    progress.update(bars[stage], completed=counters.get(f"stage:{stage}", 0), total=totals[stage])
            if not console.is_terminal and time.monotonic() - last_line > 5:
                last_line = time.monotonic()
                done = ", ".join(f"{s} {counters.get(f'stage:{s}', 0):,}" for s in STAGES if totals[s])
                console.print(f"{run.name}: {done}", highlight=False)
            if run.state != RunState.RUNNING:
                return
            interrupted.wait(0.5)


def expected(run: Run, counters: dict[str, int]) -> dict[str, int]:
    """Outputs each stage will have, as far as is known now."""
    questions = counters.get("questions", 0)
    paths = questions * sum(len(g["temperatures"]) for g in run.config["generators"])
    done = {stage: counters.get(f"stage:{stage}", 0) for stage in STAGES}
    waiting = {stage: counters.get(f"state:waiting:{stage}", 0) for stage in STAGES}
    own = run.paths_from_id is None
    return {
        "generate": paths if own else 0,
        "verify": paths,
        **{stage: done[stage] + waiting[stage] for stage in STAGES[2:]},
    }
