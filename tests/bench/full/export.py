"""Exports of all three sets against the floor: a bare server-side cursor that writes the same lines and nothing else.

The sets come with their trail of provenance, checksums and Merkle roots. Each row is a process of its own.
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
from django.conf import settings
from django.db import connection, transaction

from apps.exports.build import build_export
from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.gates.texts import GATES
from apps.exports.models import Snapshot
from apps.exports.models_checks import GateCheck
from apps.exports.records import VARIANTS, Variant
from apps.exports.services import build_queued_exports, create_export, journal_of
from apps.exports.writers import FORMATS, Format
from apps.questions.text import join_question
from apps.reasoning.models import Run, RunQuestion
from tests.bench.full.fill import RUN

BARE = ExportConfig(gates=dict.fromkeys(GATES, "off"))  # quality gates read every text: measured apart
FLOOR = """
SELECT q.contexts, q.stem, q.options, p.text, r.text FROM reasoning_runquestion rq
JOIN questions_question q ON q.id = rq.question_id
JOIN reasoning_selection s ON s.run_id = rq.run_id AND s.question_id = rq.question_id AND s.current
JOIN reasoning_reasoningpath p ON p.id = s.path_id
JOIN reasoning_response r ON r.run_id = s.run_id AND r.path_id = p.id AND r.current
WHERE rq.run_id = %s AND rq.state = 'ready' ORDER BY rq.question_id, s.slot"""
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
    """[{name, records, s, rate, ratio, cpu, cpu_ratio, mib, reader_mib, same, load, note}, …]. `ratio`: of the rate of the
    floor, the mean of before and after; `cpu`: microseconds a record, of all processes and their sessions of PostgreSQL;
    `mib`: the most memory of the builder, `reader_mib` of the largest reader; `same`: the bytes of an export that was not
    killed."""
    GateCheck.objects.all().delete()
    rows = [_of_its_own("floor_row")]
    rows += [_of_its_own("build_row", f"{name}, gates off", name, "bare") for name in formats]
    rows += [_of_its_own("build_row", f"jsonl, {said}", "jsonl", "gates") for said in ("gates", "gates that remember")]
    rows += [_of_its_own("floor_row")]
    rate, cpu = ((rows[0][key] + rows[-1][key]) / 2 for key in ("rate", "cpu"))
    rows += measure_resume()
    return [row | {"ratio": round(row["rate"] / rate, 2), "cpu_ratio": round(row["cpu"] / cpu, 1)} for row in rows]


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


def floor_row() -> Row:
    run = Run.objects.get(name=RUN)
    with tempfile.TemporaryDirectory(prefix="bench-export-", dir=settings.VAR_DIR) as folder:
        return _measured("floor: a bare cursor, three files", lambda: write_floor(run, Path(folder)))


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


def write_floor(run: Run, out: Path) -> int:
    """The lines of the three sets by a named cursor, nothing hashed. Returns the records of one set."""
    records = 0
    with transaction.atomic(), ExitStack() as opened:
        connection.ensure_connection()
        files = [opened.enter_context((out / f"floor-{v}.jsonl").open("wb", buffering=1 << 20)) for v in VARIANTS]
        cursor = opened.enter_context(connection.connection.cursor(name="floor"))
        cursor.itersize = 2_000
        cursor.execute(FLOOR, [run.pk])
        for contexts, stem, options, cot, response in cursor:
            instruction = join_question(orjson.loads(contexts), stem, orjson.loads(options))
            for file, output in zip(files, (f"<think>{cot}</think>{response}", cot, response), strict=True):
                file.write(orjson.dumps({"instruction": instruction, "input": "", "output": output}) + b"\n")
            records += 1
    return records


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
