"""Exports of all three sets against two floors: a bare server-side cursor that writes the lines of the three sets, and one
that writes those of their trail of provenance, too, which is all that an export writes of records.

The export hashes each line and each file as well. Each row is a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection

from apps.exports.build import build_export
from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.gates.texts import GATES
from apps.exports.making.pool import ALONE_UPTO
from apps.exports.models import Snapshot
from apps.exports.models_checks import GateCheck
from apps.exports.records import VARIANTS, Variant
from apps.exports.services import build_queued_exports, create_export, journal_of
from apps.exports.writers import FORMATS, Format
from apps.reasoning.models import Run, RunQuestion
from tests.bench.full import floor
from tests.bench.full.fill import RUN

BARE = ExportConfig(gates=dict.fromkeys(GATES, "off"))  # quality gates read every text: measured apart
OWN_PROCESS = """
import json, sys
from tests.bench.__main__ import prepare_django
prepare_django()
from tests.bench.full.database import use_database
use_database(sys.argv[1])
from tests.bench.full import export
print(json.dumps(getattr(export, sys.argv[2])(*sys.argv[3:])))
"""
NAME = "reasonmed-bench"  # by which PostgreSQL knows the sessions of what is measured
READER = "apps.exports.making.reader"
KILLS = (0.1, 0.5, 0.9)  # of the run's questions read
EVERY_S = 0.1
Row = dict[str, Any]


def measure_exports(formats: Sequence[Format] = FORMATS) -> list[Row]:
    """[{name, records, s, rate, ratio, of_sets, cpu, cpu_ratio, mib, reader_mib, same, load, note}, …]. `ratio`: of the rate
    of the floor with the trail, the mean of before and after, `of_sets` of the one without, `cpu_ratio` of the CPU of the
    former; `cpu`: microseconds a record, of all processes and their sessions of PostgreSQL; `mib`: the most memory of the
    builder, `reader_mib` of the largest reader; `same`: the bytes of an export that was not killed."""
    GateCheck.objects.all().delete()
    _of_its_own("floor_row", "write_sets")  # what the system has not read yet, it has afterwards
    floors = ("write_sets", "write_sets_and_trail")
    rows = [_of_its_own("floor_row", floor) for floor in floors]
    rows += [_of_its_own("build_row", f"{name}, gates off", name, "bare") for name in formats]
    rows += [_of_its_own("build_row", f"jsonl, {said}", "jsonl", "gates") for said in ("gates", "gates that remember")]
    rows += [_of_its_own("floor_row", floor) for floor in floors]
    sets, rate = ((first["rate"] + last["rate"]) / 2 for first, last in zip(rows[:2], rows[-2:], strict=True))
    cpu = (rows[1]["cpu"] + rows[-1]["cpu"]) / 2
    if Run.objects.get(name=RUN).questions.count() > ALONE_UPTO:  # a smaller one is over before it can be killed
        rows += measure_resume()
    return [
        row
        | {"ratio": round(row["rate"] / rate, 2), "of_sets": round(row["rate"] / sets, 2)}
        | {"cpu_ratio": round(row["cpu"] / cpu, 1)}
        for row in rows
    ]


def measure_resume() -> list[Row]:
    """Ordered exports with their journal and rows: one left alone, and those whose builder is killed (-9) once."""
    run = Run.objects.get(name=RUN)
    total = RunQuestion.objects.filter(run=run).count()
    whole, first = _ordered(run, kill_at=None, total=total)
    rows = [first | {"name": "ordered, not killed"}]
    for share in KILLS:
        snapshot, row = _ordered(run, kill_at=share, total=total)
        row["same"] = _lines_of(snapshot) == _lines_of(whole)
        rows.append(row | {"name": f"ordered, killed at {share:.0%}: the next builder"})
    return rows


FLOORS = {"write_sets": "floor: a bare cursor, the three sets", "write_sets_and_trail": "floor: with their provenance"}


def floor_row(which: str) -> Row:
    run, write = Run.objects.select_related("paths_from").get(name=RUN), getattr(floor, which)
    with tempfile.TemporaryDirectory(prefix="bench-export-", dir=settings.VAR_DIR) as folder:
        return _measured(FLOORS[which], lambda: int(write(run, Path(folder))))


def build_row(name: str, format: Format, gates: str) -> Row:
    run, config = Run.objects.get(name=RUN), BARE if gates == "bare" else DEFAULT
    with tempfile.TemporaryDirectory(prefix="bench-export-", dir=settings.VAR_DIR) as folder:

        def build() -> int:
            out = Path(folder) / "out"
            return int(build_export(run=run, variants=VARIANTS, format=format, out_dir=out, config=config)["records"])

        return _measured(name, build)


def queued_row() -> Row:
    """What is ordered, built."""

    def build() -> int:
        build_queued_exports()
        return int(Snapshot.objects.order_by("-created_at").values_list("records", flat=True)[0])

    return _measured("", build)


def _of_its_own(function: str, *given: str) -> Row:
    words = [sys.executable, "-c", OWN_PROCESS, str(connection.settings_dict["NAME"]), function, *given]
    row: Row = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return row


def _measured(name: str, work: Callable[[], int]) -> Row:
    _name_sessions()
    with _watched() as seen:
        begun, own, kids = time.perf_counter(), time.process_time(), _kids_cpu()
        records = work()
        seconds, own = time.perf_counter() - begun, time.process_time() - own
        kids = _kids_cpu() - kids
    server = sum(seen.sessions.values())
    row = {
        "name": name, "records": records, "s": round(seconds, 1), "rate": round(records / seconds), "same": None,
        "cpu": round(1e6 * (own + kids + server) / records, 1), "mib": seen.own_mib, "reader_mib": seen.reader_mib,
        "load": round(os.getloadavg()[0], 1),
        "note": f"{1e6 * own / records:.0f} builder, {1e6 * kids / records:.0f} readers,"
        f" {1e6 * server / records:.0f} PostgreSQL",
    }  # fmt: skip
    print(row, file=sys.stderr, flush=True)
    return row


@dataclass
class _Seen:
    sessions: dict[int, float] = field(default_factory=dict)  # process of a session → its seconds on a CPU
    own_mib: int = 0
    reader_mib: int = 0


@contextmanager
def _watched() -> Iterator[_Seen]:
    """Looks every tenth of a second at the sessions, which take their figures with them when they end, and at the memory."""
    Path("/proc/self/clear_refs").write_text("5")
    seen, done = _Seen(), threading.Event()
    before = _sessions_cpu()

    def watch() -> None:
        while not done.wait(EVERY_S):
            seen.sessions.update(_sessions_cpu())
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if READER in child.cmdline():  # not what is about to become one, and is still this process's copy
                        seen.reader_mib = max(seen.reader_mib, _most_mib(child.pid))
        connection.close()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
        seen.sessions.update(_sessions_cpu())
    finally:
        done.set()
        thread.join()
    seen.sessions = {pid: spent - before.get(pid, 0.0) for pid, spent in seen.sessions.items()}
    seen.own_mib = _most_mib(os.getpid())


def _name_sessions() -> None:
    connection.close()
    connection.settings_dict["OPTIONS"] = {**connection.settings_dict["OPTIONS"], "application_name": NAME}
    connection.ensure_connection()


def _sessions_cpu() -> dict[int, float]:
    found: dict[int, float] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()", [NAME]
        )
        for (pid,) in cursor.fetchall():
            with suppress(OSError):
                found[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return found


def _kids_cpu() -> float:
    """Of children that have ended, and theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _most_mib(pid: int) -> int:
    """The most that a process has held."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = status.partition("VmHWM:")[2].split()
    return int(found[0]) // 1024 if found else 0


def _ordered(run: Run, *, kill_at: float | None, total: int) -> tuple[Snapshot, Row]:
    """An ordered export, built by a process of its own, killed once where asked; what the last builder took."""
    variants: tuple[Variant, ...] = VARIANTS
    snapshot = create_export(run=run, variants=variants, format="jsonl", config=BARE)
    note = ""
    if kill_at is not None:
        words = [sys.executable, "-c", OWN_PROCESS, str(connection.settings_dict["NAME"]), "queued_row"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as builder:
            readers: list[psutil.Process] = []
            while builder.poll() is None and _read_so_far(snapshot) < kill_at * total:
                time.sleep(0.05)
            if builder.poll() is None:
                readers = psutil.Process(builder.pid).children()
            builder.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs(readers, timeout=10)
        note = f"killed at {_read_so_far(snapshot):,} questions, {len(left)} of {len(readers)} readers left; "
    row = _of_its_own("queued_row")
    row["note"] = note + row["note"]
    snapshot.refresh_from_db()
    return snapshot, row | {"same": True}


def _read_so_far(snapshot: Snapshot) -> int:
    snapshot.refresh_from_db()
    return snapshot.done_questions if journal_of(snapshot).exists() else 0


def _lines_of(snapshot: Snapshot) -> dict[str, str]:
    return {file["path"]: file["sha256"] for file in (snapshot.manifest or {})["files"]}
