"""Leasing with eight workers over all questions: tasks a second, whether half of that holds while an export runs, and
whether counters that all of them add to stay true.

A run of its own with one ready task a question; a task is leased and finished as a pump does both, 64 at a time.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction

from apps.pipeline.models import PumpLease, Task
from apps.pipeline.store import Finished, _finish_tasks
from apps.reasoning.models import Run, RunCounter, RunState
from apps.reasoning.selectors import run_counters
from apps.reasoning.services import add_counters
from tests.bench.full.fill import RUN
from tests.bench.full.measure import on_cpu, percentile
from workers.leases import claim_pump, lease_tasks, release_pump

WORKERS = 8
LANE = "generate@leasing"
TOGETHER = 64
SECONDS = 20.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What each worker does: at which rate (none: as fast as it can), and whether it counts."""

    run: int
    rate: float | None = None
    counting: bool = False


def measure_leasing() -> list[Row]:
    """[{name, rate, p95, cpu, note}, …]: tasks/s of all workers, ms of a lease, CPU ms for 1,000 tasks."""
    run = _make_run()
    try:
        most = _measure("leasing at most", Work(run.pk))
        counted = _measure("the same, each batch counted", Work(run.pk, counting=True))
        told = run_counters(run).get("calls", 0)
        counted["note"] = f"counters say {told:,} of {counted['tasks']:,}"
        half = Work(run.pk, rate=most["rate"] / 2, counting=True)
        alone = _measure("half of the most", half)
        with _exporting() as went_on:
            beside = _measure("half of the most, while an export runs", half)
            said = "" if went_on() else "; **the export failed**"
        beside["note"] = f"{beside['rate'] / half.rate:.2f} of the rate asked for{said}" if half.rate else said
        return [most, counted, alone, beside]
    finally:
        _remove(run)


def _make_run() -> Run:
    full = Run.objects.get(name=RUN)
    Run.objects.filter(name="leasing").delete()
    run = Run.objects.create(
        project=full.project, name="leasing", state=RunState.RUNNING, config=full.config, config_hash=full.config_hash
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pipeline_task (run_id, lane, unit_type, unit_id, state, wanted, seen, attempts, last_error)"
            " SELECT %s, %s, 'question', question_id, 'idle', 1, 0, 0, '' FROM reasoning_runquestion"
            " WHERE run_id = %s ORDER BY question_id",
            [run.pk, LANE, full.pk],
        )
    return run


def _remove(run: Run) -> None:
    Task.objects.filter(run=run)._raw_delete("default")
    PumpLease.objects.filter(lane=LANE).delete()
    RunCounter.objects.filter(run=run).delete()
    run.delete()


def _measure(name: str, work: Work) -> Row:
    Task.objects.filter(run=work.run).update(state="ready", seen=0, lease=None)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) pipeline_task")
    connection.close()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    begun = time.monotonic()
    processes = [context.Process(target=_lease, args=(slot, work, answers)) for slot in range(WORKERS)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    tasks = sum(one["tasks"] for one in found)
    seconds = max(one["until"] for one in found) - begun
    waits = [wait for one in found for wait in one["waits"]]
    return {
        "name": name, "tasks": tasks, "rate": round(tasks / seconds), "p95": round(percentile(waits, 95), 1),
        "cpu": round(1000 * sum(one["cpu"] for one in found) / max(tasks, 1) * 1000), "note": f"{tasks:,} tasks in {seconds:.0f} s",
    }  # fmt: skip


def _lease(slot: int, work: Work, answers: Any) -> None:
    """One worker, until its time is over or nothing is ready."""
    token = claim_pump(LANE, slot)
    assert token is not None, f"slot {slot} is taken"
    begun = due = time.monotonic()
    tasks, waits, worked = 0, [], on_cpu()
    while time.monotonic() - begun < SECONDS:
        asked = time.perf_counter()
        leased = lease_tasks(token, LANE, TOGETHER)
        waits.append(1000 * (time.perf_counter() - asked))
        if not leased:
            break
        with transaction.atomic(), connection.cursor() as cursor:
            _finish_tasks(cursor, token, [Finished(one.task, one.seen) for one in leased])
            if work.counting:
                keys = ("calls", "calls:generate", f"calls:{LANE}", "stage:generate", f"worker:bench-{slot}")
                add_counters(run_id=work.run, change=dict.fromkeys(keys, len(leased)))
        tasks += len(leased)
        if work.rate is not None:
            due += TOGETHER * WORKERS / work.rate
            time.sleep(max(due - time.monotonic(), 0))
    answers.put({"tasks": tasks, "waits": waits, "until": time.monotonic(), "cpu": on_cpu() - worked})
    release_pump(token)


@contextmanager
def _exporting() -> Iterator[Callable[[], bool]]:
    """All three sets of the whole run, by a process of its own; it is ended with the measurement. Gives whether it is at
    work still, or done."""
    folder = tempfile.mkdtemp(prefix="bench-export-")
    connection.close()
    command = partial(call_command, "export_dataset", RUN, "--out", folder, verbosity=0)
    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    time.sleep(5)  # it reads before it writes
    try:
        yield lambda: process.is_alive() or process.exitcode == 0
    finally:
        process.terminate()
        process.join()
        shutil.rmtree(folder)
