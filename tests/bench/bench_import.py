"""Import of questions against a bare COPY of the same rows, side by side in one run.

The import parses JSON Lines twice (MedMCQA's `cop`), checks, fingerprints, stages, inserts, links duplicates. The
first COPY fills an identical table (generated search column and all indexes) from prepared text, the second a table of
the same columns without either. Run alone: `python -m tests.bench.bench_import`.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROWS = 10_000
ROUNDS = 3
DATABASE = "bench_import"  # of its own, dropped afterwards


def run(rows: int = ROWS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """[{name, value, unit, note}, …]; rates are medians of the rounds."""
    with tempfile.TemporaryDirectory() as folder, bench_database():
        path = Path(folder) / "train.json"
        _write(path, rows)
        times: dict[str, list[float]] = {"import": [], "again": [], "same": [], "bare": []}
        for number in range(rounds):
            for name, seconds in _one_round(path, number).items():
                times[name].append(seconds)
    rate = {name: rows / statistics.median(seconds) for name, seconds in times.items()}
    size = f"{rows:,} MedMCQA-shaped rows, median of {rounds}"
    return [
        _line("import", rate["import"], "rows/s", size),
        _line("import / COPY into an identical table", rate["import"] / rate["same"], "ratio", "target ≥ 0.25"),
        _line("COPY into an identical table", rate["same"], "rows/s", "generated column and indexes as ours"),
        _line(
            "import / COPY into a bare table", rate["import"] / rate["bare"], "ratio", "no indexes, no search column"
        ),
        _line("COPY into a bare table", rate["bare"], "rows/s", "no indexes, no search column"),
        _line("import of the same file again", rate["again"], "rows/s", "creates nothing"),
    ]


@contextmanager
def bench_database() -> Iterator[None]:
    """A new database on the instance's server with all migrations, dropped at the end."""
    from django.db import connection

    before = connection.settings_dict["NAME"]
    connection.settings_dict.setdefault("TEST", {})["NAME"] = DATABASE
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)


def _one_round(path: Path, number: int) -> dict[str, float]:
    """Seconds of each. The order turns from round to round, so that what one leaves behind falls on all."""
    from django.db import connection

    from apps.questions.services import import_questions

    def load() -> None:
        import_questions(benchmark="medmcqa", path=path, split="train")

    with connection.cursor() as cursor:
        _empty(cursor)
        load()
        columns = _columns(cursor)
        data = _rows_as_text(cursor, columns)
        seconds = {"again": _seconds(cursor, load)}
        _empty(cursor)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("import", load),
            ("same", partial(_copy, cursor, "bench_same", columns, data)),
            ("bare", partial(_copy, cursor, "bench_bare", columns, data)),
        ]
        for name, work in steps[number % 3 :] + steps[: number % 3]:
            seconds[name] = _seconds(cursor, work)
    return seconds


def _empty(cursor: Any) -> None:
    cursor.execute("TRUNCATE questions_question, questions_importbatch CASCADE")
    cursor.execute("DROP TABLE IF EXISTS bench_same, bench_bare")
    cursor.execute("CREATE TABLE bench_same (LIKE questions_question INCLUDING ALL)")
    cursor.execute("CREATE TABLE bench_bare (LIKE questions_question)")
    cursor.execute("ALTER TABLE bench_bare DROP COLUMN search")
    for table in ("questions_question", "bench_same", "bench_bare"):
        cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")  # it would run into the next step


def _columns(cursor: Any) -> str:
    cursor.execute(
        "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_name = 'questions_question' AND is_generated = 'NEVER'"
    )
    return str(cursor.fetchone()[0])


def _rows_as_text(cursor: Any, columns: str) -> list[bytes]:
    with cursor.copy(f"COPY (SELECT {columns} FROM questions_question ORDER BY id) TO STDOUT") as copy:
        return [bytes(part) for part in copy]


def _copy(cursor: Any, table: str, columns: str, data: list[bytes]) -> None:
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for at in range(0, len(data), 500):
            copy.write(b"".join(data[at : at + 500]))


def _seconds(cursor: Any, work: Callable[[], None]) -> float:
    cursor.execute("CHECKPOINT")
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _write(path: Path, rows: int) -> None:
    """Texts as long as MedMCQA's (median stem 80 characters, half with an explanation), 2 % of them duplicates."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghiklmnoprstuvy", k=rng.randint(3, 11))) for _word in range(12_000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]

    def text(count: int) -> str:
        return " ".join(rng.choices(words, weights, k=count)).capitalize()

    with path.open("w", encoding="utf-8") as file:
        question = {}
        for number in range(rows):
            if number % 50 or not question:
                options = {f"op{letter}": f"{text(rng.randint(1, 5))} {letter}" for letter in "abcd"}
                question = {"question": text(rng.randint(6, 22)), **options, "cop": rng.randint(1, 4)}
            exp = text(rng.randint(20, 120)) if number % 2 else None
            ids = {"id": f"{number:032x}", "choice_type": "single", "subject_name": "Medicine", "topic_name": None}
            file.write(json.dumps({**question, "exp": exp, **ids}) + "\n")


def _line(name: str, value: float, unit: str, note: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3 if unit == "ratio" else 0), "unit": unit, "note": note}


def main() -> None:
    import os

    import django

    from reasonmed_site import launch

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reasonmed_site.settings")
    launch.prepare(["bench"])
    django.setup()
    print("| Import | Value | Unit | Note |\n|---|---|---|---|")
    for line in run():
        print("| {name} | {value:,} | {unit} | {note} |".format(**line))


if __name__ == "__main__":
    main()
