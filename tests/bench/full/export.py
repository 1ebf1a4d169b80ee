"""Exports of all three sets against the floor: a bare server-side cursor that writes the same lines and nothing else.

The sets come with their trail of provenance, checksums and Merkle roots.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
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
from apps.exports.records import VARIANTS, Variant
from apps.exports.services import create_export, journal_of
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
BUILDER = """
import sys
from tests.bench.__main__ import prepare_django
prepare_django()
from apps.exports.services import build_queued_exports
from tests.bench.full.database import use_database
use_database(sys.argv[1])
build_queued_exports()
"""
KILLS = (0.1, 0.5, 0.9)  # of the run's questions read
Row = dict[str, Any]


def measure_export(formats: Sequence[Format] = FORMATS) -> list[Row]:
    """[{name, records, s, rate, ratio, cpu, cpu_ratio, mib, note}, …]. `ratio`: of the floor's rate, the mean of before and
    after; `cpu`: microseconds a record, of this process and of all PostgreSQL; `mib`: the most memory of this process."""
    run = Run.objects.get(name=RUN)
    with tempfile.TemporaryDirectory(prefix="bench-export-", dir=settings.VAR_DIR) as folder:
        out = Path(folder)
        rows = [_measured("floor: a bare cursor, three files", partial(write_floor, run, out))]
        rows += [_measured(f"export, {name}", partial(_build, run, out, name, BARE)) for name in formats]
        if formats == FORMATS:
            rows.append(_measured("export, jsonl, quality gates on", partial(_build, run, out, "jsonl", DEFAULT)))
        rows.append(_measured("floor, again", partial(write_floor, run, out)))
    rate, cpu = ((rows[0][key] + rows[-1][key]) / 2 for key in ("rate", "cpu"))
    return [row | {"ratio": round(row["rate"] / rate, 2), "cpu_ratio": round(cpu / row["cpu"], 2)} for row in rows]


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


def measure_resume() -> list[Row]:
    """A builder that is killed (-9), and the next one: [{name, s, rest_s, same, note}, …]. `same`: the same bytes."""
    run = Run.objects.get(name=RUN)
    total = RunQuestion.objects.filter(run=run).count()
    whole, whole_s = _ordered(run, kill_at=None, total=total)
    rows: list[Row] = [{"name": "not killed", "s": round(whole_s, 1), "same": True, "note": ""}]
    for share in KILLS:
        snapshot, seconds = _ordered(run, kill_at=share, total=total)
        same = _lines_of(snapshot) == _lines_of(whole)
        rows.append(
            {"name": f"killed at {share:.0%}", "s": round(seconds, 1), "same": same, "note": "the next builder"}
        )
    return rows


def _build(run: Run, out: Path, format: Format, config: ExportConfig) -> int:
    manifest = build_export(run=run, variants=VARIANTS, format=format, out_dir=out / format, config=config)
    return int(manifest["records"])


def _measured(name: str, work: Callable[[], int]) -> Row:
    with _peak() as peak:
        begun, own, server = time.perf_counter(), time.process_time(), _server_cpu()
        records = work()
        seconds, own = time.perf_counter() - begun, time.process_time() - own
        server = _server_cpu() - server
    row = {
        "name": name, "records": records, "s": round(seconds, 1), "rate": round(records / seconds),
        "cpu": round(1e6 * (own + server) / records, 1), "mib": peak[0],
        "note": f"CPU µs: {1e6 * own / records:.0f} here, {1e6 * server / records:.0f} PostgreSQL",
    }  # fmt: skip
    print(row, file=sys.stderr, flush=True)
    return row


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The most MiB that this process holds while inside."""
    Path("/proc/self/clear_refs").write_text("5")
    found = [0]
    yield found
    status = Path("/proc/self/status").read_text()
    found[0] = int(status.partition("VmHWM:")[2].split()[0]) // 1024


def _server_cpu() -> float:
    """Seconds on a CPU so far of PostgreSQL, sessions that have ended included."""
    connection.ensure_connection()
    postmaster = psutil.Process(connection.connection.info.backend_pid).parent()
    assert postmaster
    ended, living = postmaster.cpu_times(), [p.cpu_times() for p in postmaster.children()]
    return ended.children_user + ended.children_system + sum(c.user + c.system for c in living)


def _ordered(run: Run, *, kill_at: float | None, total: int) -> tuple[Snapshot, float]:
    """An ordered export, built by a process of its own, killed once where asked; seconds that the last builder took."""
    variants: tuple[Variant, ...] = VARIANTS
    snapshot = create_export(run=run, variants=variants, format="jsonl", config=BARE)
    words = [sys.executable, "-c", BUILDER, str(connection.settings_dict["NAME"])]
    if kill_at is not None:
        with subprocess.Popen(words) as builder:
            while builder.poll() is None and _read_so_far(snapshot) < kill_at * total:
                time.sleep(0.05)
            builder.send_signal(signal.SIGKILL)
    begun = time.perf_counter()
    subprocess.run(words, check=True)
    seconds = time.perf_counter() - begun
    snapshot.refresh_from_db()
    return snapshot, seconds


def _read_so_far(snapshot: Snapshot) -> int:
    snapshot.refresh_from_db()
    return snapshot.done_questions if journal_of(snapshot).exists() else 0


def _lines_of(snapshot: Snapshot) -> dict[str, str]:
    return {file["path"]: file["sha256"] for file in (snapshot.manifest or {})["files"]}
