"""The database side of an import: COPY into a temporary table, then set statements; nothing is held in memory.

All functions run inside the caller's transaction and drop nothing but the temporary tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
from django.db import connection

from apps.questions.fingerprints import fingerprint, normalise_option, stem_fingerprint
from apps.questions.importers.base import BLOCKING, CONFLICTING_KEY, ParsedQuestion
from apps.questions.published import BENCHMARK_ORDER, SPLIT_ORDER, SUBJECT_ORDER

_LOCK = 7_230_195_001  # one import links duplicates at a time
_COLUMNS = (
    "split, held_out, subject, topic, source_id, occurrence, contexts, stem, options, key, explanation, meta, "
    "fingerprint, stem_fingerprint, flags, blocked"
)
_STAGE = """
    CREATE TEMP TABLE import_stage (
        line integer, uid text, split text, held_out boolean, subject text, topic text, source_id text,
        occurrence integer, contexts jsonb, stem text, options jsonb, key integer, explanation text, meta jsonb,
        fingerprint text, stem_fingerprint text, flags jsonb, blocked boolean,
        row_no integer GENERATED ALWAYS AS IDENTITY
    ) ON COMMIT DROP
"""
_GROUPS = """
    CREATE TEMP TABLE import_groups ON COMMIT DROP AS
    SELECT fingerprint FROM questions_question
    WHERE fingerprint IN (SELECT fingerprint FROM import_stage) GROUP BY fingerprint HAVING count(*) > 1
"""


@dataclass(frozen=True, slots=True)
class Clash:
    """A staged row that cannot be taken as the stored (or earlier) row of the same identity."""

    row_no: int
    line: int
    reason: str


def copy_rows(benchmark: str, questions: Iterable[ParsedQuestion]) -> None:
    """Into a new temporary table, in file order. What the iterable raises ends the COPY and reaches the caller."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS import_stage, import_groups")
        cursor.execute(_STAGE)
        with cursor.copy(f"COPY import_stage (line, uid, {_COLUMNS}) FROM STDIN") as copy:
            for question in questions:
                copy.write_row(_staged(benchmark, question))
        _number_occurrences(cursor)
        cursor.execute("ANALYZE import_stage (uid, fingerprint)")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def find_clashes() -> Iterator[Clash]:
    """Rows whose identity is taken by another text, another key, or by the held-out set."""
    yield from _different_content(_REPEATED)
    yield from _different_content(_STORED)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.row_no, s.line, q.split FROM import_stage s JOIN questions_question q ON q.uid = s.uid "
            "WHERE q.split IN ('test', 'validation') AND s.split NOT IN ('test', 'validation', 'labelled')"
        )
        for row_no, line, split in cursor.fetchall():
            yield Clash(row_no, line, f"is already there as held out ({split}) and stays so")


def drop_rows(row_numbers: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM import_stage WHERE row_no = ANY(%s)", [row_numbers])


def drop_repeated_rows() -> None:
    """The second and later rows with one identity in one file."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM import_stage s USING (SELECT uid, min(row_no) AS first FROM import_stage GROUP BY uid "
            "HAVING count(*) > 1) AS r WHERE s.uid = r.uid AND s.row_no > r.first"
        )


def move_splits() -> int:
    """Stored rows take the split their file says now: train and val over labelled, held-out over all. Returns how many.

    A labelled row read with the test key is known not to be of the test set, and is freed.
    """
    with connection.cursor() as cursor:
        cursor.execute("""
            UPDATE questions_question q SET split = s.split, held_out = s.held_out FROM import_stage s
            WHERE q.uid = s.uid AND q.split NOT IN ('test', 'validation')
              AND (q.split, q.held_out) IS DISTINCT FROM (s.split, s.held_out)
              AND (s.split <> 'labelled' OR (q.split = 'labelled' AND NOT s.held_out))
        """)
        return int(cursor.rowcount)


def insert_rows(*, benchmark_id: int, batch_id: int) -> int:
    """Returns how many are new. Stored rows are left out first: PostgreSQL would build the search column of each."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO questions_question (uid, {_COLUMNS}, benchmark_id, batch_id, created_at) "  # noqa: S608
            f"SELECT uid, {_COLUMNS}, %s, %s, now() FROM import_stage s "
            "WHERE NOT EXISTS (SELECT FROM questions_question q WHERE q.uid = s.uid) ON CONFLICT (uid) DO NOTHING",
            [benchmark_id, batch_id],
        )
        return int(cursor.rowcount)


def link_duplicates(*, batch_id: int) -> int:
    """Choose the canonical question of every group the staged rows belong to, trainable and held-out rows apart, by
    the order of the published table, never by import order. Returns how many of the batch's rows repeat another."""
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS)
        cursor.execute(
            """
            UPDATE questions_question q SET canonical_id = r.canonical_id FROM (
                SELECT m.id, nullif(first_value(m.id) OVER (
                    PARTITION BY m.fingerprint, m.held_out, b.project_id
                    ORDER BY array_position(%s::text[], b.slug::text) NULLS LAST, b.slug,
                        CASE WHEN b.slug = 'mmlu' THEN array_position(%s::text[], m.subject::text) END NULLS LAST,
                        array_position(%s::text[], m.split::text), m.uid
                ), m.id) AS canonical_id
                FROM questions_question m JOIN import_groups USING (fingerprint)
                JOIN questions_benchmark b ON b.id = m.benchmark_id
            ) AS r WHERE r.id = q.id AND r.canonical_id IS DISTINCT FROM q.canonical_id
            """,
            [list(BENCHMARK_ORDER), list(SUBJECT_ORDER), list(SPLIT_ORDER)],
        )
        cursor.execute(
            """
            SELECT coalesce(sum(new - (new = members)::int), 0) FROM (
                SELECT count(*) FILTER (WHERE q.batch_id = %s) AS new, count(*) AS members
                FROM questions_question q JOIN import_groups USING (fingerprint)
                JOIN questions_benchmark b ON b.id = q.benchmark_id
                GROUP BY q.fingerprint, q.held_out, b.project_id
            ) AS part WHERE new > 0
            """,
            [batch_id],
        )
        return int(cursor.fetchone()[0])


def flag_conflicting_keys() -> None:
    """Mark every member of a group whose members' keys differ; held-out and trainable members count together."""
    with connection.chunked_cursor() as cursor:
        cursor.execute("""
            SELECT q.fingerprint, b.project_id, q.id, q.options ->> q.key::int
            FROM questions_question q JOIN import_groups USING (fingerprint)
            JOIN questions_benchmark b ON b.id = q.benchmark_id ORDER BY 1, 2 NULLS FIRST
        """)
        wrong = [
            member[2]
            for members in (list(part) for _group, part in groupby(cursor, key=lambda row: row[:2]))
            if len({normalise_option(member[3]) for member in members}) > 1
            for member in members
        ]
    if wrong:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE questions_question SET flags = flags || to_jsonb(%s::text) "
                "WHERE id = ANY(%s) AND NOT flags @> to_jsonb(%s::text)",
                [CONFLICTING_KEY, wrong, CONFLICTING_KEY],
            )


def count_flags(*, batch_id: int) -> tuple[int, dict[str, int]]:
    """(flagged rows of the batch, rows by flag)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT flags, count(*) FROM questions_question WHERE batch_id = %s AND flags <> '[]' GROUP BY flags",
            [batch_id],
        )
        rows = cursor.fetchall()
    by_flag: dict[str, int] = {}
    for flags, count in rows:
        for flag in orjson.loads(flags):
            by_flag[flag] = by_flag.get(flag, 0) + count
    return sum(count for _flags, count in rows), dict(sorted(by_flag.items()))


def _staged(benchmark: str, question: ParsedQuestion) -> tuple[Any, ...]:
    content = fingerprint(question.stem, question.options, question.contexts)
    flags = question.flags
    return (
        question.line,
        _uid(benchmark, question, content),
        question.split,
        question.held_out,
        question.subject,
        question.topic,
        question.source_id,
        0,
        _json(question.contexts),
        question.stem,
        _json(question.options),
        question.key,
        question.explanation,
        _json(question.meta),
        content,
        stem_fingerprint(question.stem),
        _json(flags),
        not BLOCKING.isdisjoint(flags),
    )


def _uid(benchmark: str, question: ParsedQuestion, content: str) -> str:
    """DESIGN: identity of a question. The last part is the occurrence, numbered once the file is read."""
    if question.source_id:
        return f"{benchmark}-{question.source_id}"
    return "-".join(filter(None, (benchmark, question.split, question.subject, content, "0")))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _number_occurrences(cursor: Any) -> None:
    """Rows without an id of their own that say the same thing again are told apart by their order in the file."""
    cursor.execute("""
        UPDATE import_stage s SET occurrence = r.nth, uid = regexp_replace(s.uid, '0$', r.nth::text)
        FROM (SELECT row_no, row_number() OVER (PARTITION BY uid ORDER BY row_no) - 1 AS nth
              FROM import_stage WHERE source_id = '') AS r
        WHERE r.row_no = s.row_no AND r.nth > 0
    """)


_REPEATED = """
    SELECT s.row_no, s.line, s.fingerprint = o.fingerprint, s.options ->> s.key, o.options ->> o.key,
        'line ' || o.line::text
    FROM (SELECT uid, min(row_no) AS first FROM import_stage GROUP BY uid HAVING count(*) > 1) AS r
    JOIN import_stage o ON o.row_no = r.first JOIN import_stage s ON s.uid = r.uid AND s.row_no > r.first
"""
_STORED = """
    SELECT s.row_no, s.line, s.fingerprint = o.fingerprint, s.options ->> s.key, o.options ->> o.key::int,
        'an earlier import'
    FROM import_stage s JOIN questions_question o ON o.uid = s.uid
    WHERE s.fingerprint <> o.fingerprint OR s.options ->> s.key <> o.options ->> o.key::int
"""


def _different_content(query: str) -> Iterator[Clash]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(query)
        for row_no, line, same_text, key, other_key, where in cursor:
            if not same_text:
                yield Clash(row_no, line, f"another question already has this id (from {where})")
            elif normalise_option(key) != normalise_option(other_key):
                yield Clash(row_no, line, f"is already there with another key (from {where})")
