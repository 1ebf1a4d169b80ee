"""Recomputes what a run stores about its questions and reports every difference. Writes nothing.

Memory does not grow with the run: questions are read in chunks, only their counts are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.ledger_fetch import Drift, fetch
from apps.reasoning.ledger_money import check_money
from apps.reasoning.models import Run
from apps.reasoning.policy.assess import Assessment, assess
from apps.reasoning.policy.facts import Policy, QuestionFacts
from apps.reasoning.services import COLUMNS, LABEL_COLUMNS, counts_of, labels_of, row_of

CHUNK = 1_000
COUNTED = ("state:", "tier:", "errors:", "benchmark:", "labels:", "paths:", "failed:")  # prefixes of counters
COUNTED_WHOLE = ("questions", "contradictions", "overridden", "disputed", "records", "calls")
STATES = ("ready", "excluded", "waiting")


def check_run(run: Run, *, progress: Callable[[int], None] | None = None) -> list[Drift]:
    """Every drift of the run, seen in one snapshot. `progress` is told the number of questions checked so far."""
    with _snapshot():
        counts: Counter[str] = Counter()
        found: list[Drift] = []
        for chunk in _chunks(run):
            found += _check_chunk(run, chunk, counts)
            if progress:
                progress(counts["questions"])
        found += _check_orphans(run)
        found += _check_sum(run)
        found += _check_counters(run, counts)
        found += check_money(run)
        return found


@contextmanager
def _snapshot() -> Iterator[None]:
    """One view of the database, so that a run at work shows no false drift. An outer transaction is kept as it is."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


Row = tuple[int, int, int, tuple[Any, ...]]  # question, benchmark stored, benchmark of the question, COLUMNS


def _chunks(run: Run) -> Iterator[list[Row]]:
    last = 0
    while True:
        rows = fetch(
            f"SELECT r.question_id, r.benchmark_id, q.benchmark_id, {', '.join(f'r.{c}' for c in COLUMNS)}"  # noqa: S608
            " FROM reasoning_runquestion r JOIN questions_question q ON q.id = r.question_id"
            f" WHERE r.run_id = %s AND r.question_id > %s ORDER BY r.question_id LIMIT {CHUNK}",
            [run.pk, last],
        )
        if not rows:
            return
        yield [(question, benchmark, own, tuple(stored)) for question, benchmark, own, *stored in rows]
        last = rows[-1][0]


def _check_chunk(run: Run, rows: Sequence[Row], counts: Counter[str]) -> Iterator[Drift]:
    """Drift of some questions; adds what they should count to `counts`."""
    ids = [row[0] for row in rows]
    policy = policy_of(run)
    facts = load_facts(run, ids)
    found = {pk: assess(f, policy) for pk, f in facts.items()}
    for question, benchmark, own_benchmark, stored in rows:
        expected = row_of(found[question])
        counts["questions"] += 1
        counts.update(counts_of(expected, own_benchmark))
        if benchmark != own_benchmark:
            yield Drift(run.name, "question", f"{question} benchmark", benchmark, own_benchmark)
        for column, was, should in zip(COLUMNS, stored, expected, strict=True):
            if was != should:
                yield Drift(run.name, "question", f"{question} {column}", was, should)
        yield from _check_slots(run, facts[question], policy)
    yield from _check_labels(run, ids, facts, found, counts)
    yield from _check_selections(run, ids, found)


def _check_slots(run: Run, facts: QuestionFacts, policy: Policy) -> Iterator[Drift]:
    """Each slot of the grid has at most one current path, and no path is outside the grid."""
    taken = Counter((p.generator, p.sample) for p in facts.paths if p.is_base)
    for (generator, sample), number in taken.items():
        expected = 1 if (generator, sample) in policy.slots else 0
        if number > expected:
            yield Drift(run.name, "path", f"{facts.id} {generator}/{sample}", number, expected)


def _check_labels(
    run: Run,
    ids: Sequence[int],
    facts: Mapping[int, QuestionFacts],
    found: Mapping[int, Assessment],
    counts: Counter[str],
) -> Iterator[Drift]:
    stored = {
        path: (question, *values)
        for path, question, *values in fetch(
            f"SELECT path_id, question_id, {', '.join(LABEL_COLUMNS)} FROM reasoning_pathlabel"  # noqa: S608
            " WHERE run_id = %s AND question_id = ANY(%s)",
            [run.pk, ids],
        )
    }
    expected = {
        path: (question, *values)
        for question, f in facts.items()
        for path, values in labels_of(f, found[question]).items()
    }
    counts.update(f"labels:{expected[p.id][1]}" for f in facts.values() for p in f.paths if p.is_base)
    columns = ("question", *LABEL_COLUMNS)
    yield from _differences(run, "label", "path {}", columns, stored, expected)


def _check_selections(run: Run, ids: Sequence[int], found: Mapping[int, Assessment]) -> Iterator[Drift]:
    stored = {
        (question, slot): tuple(values)
        for question, slot, *values in fetch(
            "SELECT question_id, slot, source_id, path_id, why FROM reasoning_selection"
            " WHERE run_id = %s AND question_id = ANY(%s) AND current",
            [run.pk, ids],
        )
    }
    expected = {(q, c.slot): (c.source, c.path, c.why) for q, a in found.items() for c in a.choices}
    yield from _differences(run, "selection", "{0[0]} slot {0[1]}", ("source", "path", "why"), stored, expected)


def _differences(
    run: Run,
    kind: str,
    where: str,
    columns: Sequence[str],
    stored: Mapping[Any, tuple[Any, ...]],
    expected: Mapping[Any, tuple[Any, ...]],
) -> Iterator[Drift]:
    """Rows missing, extra and different."""
    for key in sorted(stored.keys() | expected.keys()):
        was, should = stored.get(key), expected.get(key)
        if was != should:
            yield Drift(run.name, kind, where.format(key), _named(columns, was), _named(columns, should))


def _named(columns: Sequence[str], values: tuple[Any, ...] | None) -> dict[str, Any] | None:
    return None if values is None else dict(zip(columns, values, strict=True))


_ORPHANS = (
    (
        "path",
        "{} of a question outside the run",
        """SELECT p.id FROM reasoning_reasoningpath p WHERE p.run_id = %(run)s AND NOT EXISTS
           (SELECT 1 FROM reasoning_runquestion r WHERE r.run_id = p.run_id AND r.question_id = p.question_id)""",
    ),
    (
        "label",
        "path {} of a question outside the run",
        """SELECT l.path_id FROM reasoning_pathlabel l WHERE l.run_id = %(run)s AND NOT EXISTS
           (SELECT 1 FROM reasoning_runquestion r WHERE r.run_id = l.run_id AND r.question_id = l.question_id)""",
    ),
    (
        "selection",
        "{} of a question outside the run",
        """SELECT s.id FROM reasoning_selection s WHERE s.run_id = %(run)s AND s.current AND NOT EXISTS
           (SELECT 1 FROM reasoning_runquestion r WHERE r.run_id = s.run_id AND r.question_id = s.question_id)""",
    ),
    (
        "verdict",
        "{} is the judge’s last on its path but not current",
        """SELECT id FROM (SELECT DISTINCT ON (path_id) id, current FROM reasoning_verdict
           WHERE run_id = %(run)s AND source = 'judge' ORDER BY path_id, round DESC) last WHERE NOT current""",
    ),
    (
        "verdict",
        "{} is a reviewer’s last on its path but not current",
        """SELECT id FROM (SELECT DISTINCT ON (v.path_id, v.reviewer_id, v.source, v.counts) v.id, v.current
           FROM reasoning_verdict v JOIN reasoning_reasoningpath p ON p.id = v.path_id
           WHERE v.source <> 'judge' AND v.project_id = %(project)s AND p.run_id IN (%(run)s, %(paths)s)
           ORDER BY v.path_id, v.reviewer_id, v.source, v.counts, v.id DESC) last WHERE NOT current""",
    ),
)


def _check_orphans(run: Run) -> Iterator[Drift]:
    """Rows that belong to nothing the run has, and last verdicts that lost their `current`."""
    parameters = {"run": run.pk, "paths": run.paths_run_id, "project": run.project_id}
    for kind, where, sql in _ORPHANS:
        for (pk,) in fetch(sql, parameters):
            yield Drift(run.name, kind, where.format(pk), "present", "absent" if kind != "verdict" else "current")


def _check_sum(run: Run) -> Iterator[Drift]:
    """Ready, excluded and waiting together are all the questions."""
    rows = dict(fetch("SELECT state, count(*) FROM reasoning_runquestion WHERE run_id = %s GROUP BY state", [run.pk]))
    accounted, total = sum(rows.get(state, 0) for state in STATES), sum(rows.values())
    if accounted != total:
        yield Drift(run.name, "sum", "ready + excluded + waiting", accounted, total)


def _check_counters(run: Run, counts: Counter[str]) -> Iterator[Drift]:
    """The counters against the rows they count; money and tokens are checked apart."""
    expected = counts + Counter(
        dict(
            fetch(
                """
                SELECT 'paths:' || origin, count(*) FROM reasoning_reasoningpath WHERE run_id = %(run)s GROUP BY origin
                UNION ALL SELECT 'calls', count(*) FROM pipeline_call WHERE run_id = %(run)s
                UNION ALL SELECT 'failed:' || error_class, count(*) FROM pipeline_call
                  WHERE run_id = %(run)s AND error_class <> '' GROUP BY error_class""",
                {"run": run.pk},
            )
        )
    )
    stored: dict[str, int] = {
        key: int(value)
        for key, value in fetch(
            "SELECT key, sum(value) FROM reasoning_runcounter WHERE run_id = %s GROUP BY key", [run.pk]
        )
        if key in COUNTED_WHOLE or key.startswith(COUNTED)
    }
    for key in sorted(stored.keys() | expected.keys()):
        if stored.get(key, 0) != expected[key]:
            yield Drift(run.name, "counter", key, stored.get(key, 0), expected[key])
