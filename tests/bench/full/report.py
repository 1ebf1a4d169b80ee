"""The measured figures as a section of docs/benchmarks.md. What stands below "What was made faster" is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from tests.bench.__main__ import FULL_SIZE as HEADING
from tests.bench.__main__ import PAGE

KEPT = "### What was made faster"
INTRODUCTION = """\
Measured by `make bench-full` (`python -m tests.bench.full`). It fills two databases by INSERT … SELECT: the published
{full:,} questions with nine paths each, and {small:,} questions made by the same rules. All rows are there: texts of
realistic length, the judge's verdicts and effective labels, scores, kept paths, responses, calls, tasks, counters, money;
`check_ledger` finds no drift in the small one (`tests/bench/test_fill.py`). Two people judged 2,000 of the paths at either size, so that what is shown of people's
work is the same. Rows: of the tables on a page, where the small size has too few to fill it (its page is then the cheaper one). Server time: one process, the real middleware, templates and PostgreSQL, one open connection, warm.
CPU: of the process and its PostgreSQL backend together, which other work on a shared machine does not add to; × compares it.
What misses its target is in bold. Targets: p95 of each page at most 100 ms and (search apart) at most 1.5 × its value at {small:,} questions; saving an item
and getting the next at most 50 ms; an override at most 50 ms.

"""
LEASING = """\
Eight processes lease 64 tasks at a time and finish them, in two transactions as a pump does, one ready task a question; as
fast as they can, then at half of that while another process exports all three sets of the whole run. Counted: each batch adds
to five counters of the run in its transaction. All of them and PostgreSQL share two CPUs, so the export takes what the workers
leave. CPU: of the workers and their PostgreSQL backends, for 1,000 tasks.

"""
EXPORT = """\
All three sets with their provenance, checksums and Merkle roots, each row built by a process of its own, beside two floors:
a bare server-side cursor that writes the same lines of the three sets and nothing else, and one that writes those of their
provenance, too: the same four files, nothing hashed, checked or kept. The ratio to that one is of like with like. CPU: microseconds a record of builder,
readers and their sessions of PostgreSQL. MiB: the most that the builder held, and the largest reader. Ordered ones have a
journal and a row for each record; of a killed one (-9) the time is the next builder's, and its bytes are compared. Target: half of the
floor's rate, 300 MiB a process.

"""
Row = Mapping[str, Any]


def sizes(name: str) -> dict[str, Any]:
    """Bytes of the database, and of its largest tables with their indexes."""
    from tests.bench.full.database import use_database

    use_database(name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        whole = cursor.fetchone()[0]
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid), pg_indexes_size(oid) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC LIMIT 8"
        )
        return {"bytes": whole, "tables": cursor.fetchall()}


def write(found: Mapping[str, Any], small: int, full: int) -> None:
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Benchmarks\n"
    before, _, section = page.partition(HEADING)
    kept = section.partition(KEPT)[2]
    a, b = found[str(small)], found[str(full)]
    parts = [HEADING + "\n\n" + INTRODUCTION.format(full=full, small=small), _sizes(a, b, small, full)]
    for part, title in (("review", "### Reviewing"), ("pages", "### Pages")):
        if part in a and part in b:
            parts.append(f"{title}\n\n{_timings(a[part], b[part], small, full)}")
    if "making" in a and "making" in b:
        parts.append(
            f"### Making runs and queues, bringing paths in\n\n{_making(a['making'], b['making'], small, full)}"
        )
    if "ledger" in b:
        parts.append(f"### Checking the ledger\n\n{_ledger(a.get('ledger', ()), b['ledger'], small, full)}")
    if "leasing" in b:
        parts.append(
            f"### Leasing by eight workers\n\n{LEASING}{_leasing(a.get('leasing', ()), b['leasing'], small, full)}"
        )
    if "export" in b:
        parts.append(f"### Exporting\n\n{EXPORT}{_export(a.get('export', ()), b['export'], small, full)}")
    if "soak" in b:
        parts.append(f"### Memory over a large run\n\n{_soak(b['soak'])}")
    after = f"{KEPT}{kept}" if kept else ""
    PAGE.write_text(before.rstrip() + "\n\n" + "\n".join(parts) + (f"\n{after}" if after else ""), encoding="utf-8")


def _timings(small: Sequence[Row], full: Sequence[Row], a: int, b: int) -> str:
    """Milliseconds, and the ratio of CPU; what misses its target is in bold."""
    lines = [
        f"| ms | p95, {a:,} | p50, {b:,} | p95, {b:,} | CPU p95, {a:,} | CPU p95, {b:,} | × | statements | rows |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    earlier = {row["name"]: row for row in small}
    for row in full:
        first = earlier.get(row["name"])
        if first is None:
            continue
        ratio, most = row["cpu95"] / first["cpu95"], limit(row["name"])
        lines.append(
            f"| {row['name']} | {first['p95']} | {row['p50']} | {_bold(row['p95'], row['p95'] > most)} | {first['cpu95']} |"
            f" {_bold(row['cpu95'], row['cpu95'] > most)} | {_bold(round(ratio, 2), ratio > 1.5 and 'search' not in row['name'])} |"
            f" {row['statements']} | {_rows(first, row)} |"
        )
    return "\n".join(lines) + "\n"


def _rows(first: Row, row: Row) -> str:
    """Of tables on the page, where the two sizes differ."""
    a, b = first.get("rows", 0), row.get("rows", 0)
    return "" if a == b else f"{a} / {b}"


def limit(name: str) -> float:
    """Milliseconds that p95 may take."""
    return 50.0 if "save + next" in name or name == "override: save" else 100.0


def _bold(value: float, missed: bool) -> str:
    return f"**{value}**" if missed else str(value)


def _sizes(small: Row, full: Row, a: int, b: int) -> str:
    rows = "".join(
        f"| {name} | {total / 1024**2:,.0f} | {indexes / 1024**2:,.0f} |\n" for name, total, indexes in full["tables"]
    )
    filled = f" Filling it took {full['fill_s']:,} s." if "fill_s" in full else ""
    return (
        f"Database: {full['bytes'] / 1024**3:.1f} GiB at {b:,} questions, {small['bytes'] / 1024**2:,.0f} MiB at {a:,}.{filled}\n\n"
        f"| Table | MiB with indexes | of it indexes |\n|---|---:|---:|\n{rows}"
    )


def _making(small: Sequence[Row], full: Sequence[Row], a: int, b: int) -> str:
    earlier = {row["name"]: row for row in small}
    lines = [f"| | s, {a:,} | s, {b:,} | peak MiB, {a:,} | peak MiB, {b:,} | |", "|---|---:|---:|---:|---:|---|"]
    for row in full:
        first = earlier[row["name"]]
        lines.append(f"| {row['name']} | {first['s']} | {row['s']} | {first['mib']} | {row['mib']} | {row['note']} |")
    return "\n".join(lines) + "\n"


def _ledger(small: Sequence[Row], full: Sequence[Row], a: int, b: int) -> str:
    lines = ["| | questions | s | CPU s | peak MiB | |", "|---|---:|---:|---:|---:|---|"]
    for size, rows in ((a, small), (b, full)):
        lines += [f"| {r['name']} | {size:,} | {r['s']} | {r['cpu_s']} | {r['mib']} | {r['note']} |" for r in rows]
    return "\n".join(lines) + "\n"


def _leasing(small: Sequence[Row], full: Sequence[Row], a: int, b: int) -> str:
    lines = ["| | questions | tasks/s | p95 of a lease, ms | CPU ms | |", "|---|---:|---:|---:|---:|---|"]
    for size, rows in ((a, small), (b, full)):
        lines += [f"| {r['name']} | {size:,} | {r['rate']:,} | {r['p95']} | {r['cpu']:,} | {r['note']} |" for r in rows]
    return "\n".join(lines) + "\n"


def _export(small: Sequence[Row], full: Sequence[Row], a: int, b: int) -> str:
    lines = [
        "| | questions | s | records/s | of the sets' floor | of the floor with provenance | CPU µs | × that floor | builder, reader MiB | same bytes | load | of the CPU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---|",
    ]
    for size, rows in ((a, small), (b, full)):
        for r in rows:
            aimed = r["name"].startswith("jsonl, gates off")
            ratio = " | ".join(str(_bold(r[key], r[key] < 0.5 and aimed)) for key in ("of_sets", "ratio"))
            memory = f"{_bold(r['mib'], r['mib'] > 300)}, {_bold(r['reader_mib'], r['reader_mib'] > 300)}"
            same = {True: "yes", False: "**no**", None: ""}[r["same"]]
            lines.append(
                f"| {r['name']} | {size:,} | {r['s']} | {r['rate']:,} | {ratio} | {r['cpu']} | {r['cpu_ratio']} | {memory} | {same} |"
                f" {r['load']} | {r['note']} |"
            )
    return "\n".join(lines) + "\n"


def _soak(rows: Sequence[Row]) -> str:
    lines = [
        f"A real worker (`run_pipeline`) over simulated models, and gunicorn: {rows[0]['note']}. MiB of each process with its",
        "children, shared pages counted once, every two seconds: the means of the three thirds of the time, the most, and what",
        "it grew by over the second half.",
        "",
        "| MiB | first third | middle | last | most | growth, second half | flat |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for r in rows:
        flat = "yes" if r["flat"] else "**no**"
        lines.append(
            f"| {r['name']} | {r['first']} | {r['middle']} | {r['last']} | {r['peak']} | {r['growth']:+} | {flat} |"
        )
    return "\n".join(lines) + "\n"
