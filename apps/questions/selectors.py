"""Reads about the questions as a whole: composition, conflicting keys, contamination."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from django.db import connection

from apps.questions.importers.base import CONFLICTING_KEY
from apps.questions.models import Question
from apps.questions.published import HELD_OUT, TABLE, PublishedRow

_COMPOSITION = """
    SELECT b.slug, q.split, CASE WHEN b.slug = 'mmlu' THEN q.subject ELSE '' END AS part,
        CASE WHEN b.slug = 'medqa' THEN jsonb_array_length(q.options) ELSE 0 END AS choices, q.held_out,
        count(*), count(*) FILTER (WHERE q.canonical_id IS NULL)
    FROM questions_question q JOIN questions_benchmark b ON b.id = q.benchmark_id
    WHERE b.project_id IS NULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""


@dataclass(frozen=True, slots=True)
class CompositionRow:
    """`published` is None for what the published table does not have. `canonical` counts one question of each group."""

    benchmark: str
    split: str
    subject: str
    published: int | None
    imported: int
    canonical: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Composition:
    """`rows` are the published table's, `held_out` the evaluation sets, `other` every question counted in neither."""

    rows: list[CompositionRow]
    held_out: list[CompositionRow]
    other: list[CompositionRow]

    def total(self) -> CompositionRow:
        """Of the published table's rows."""
        return CompositionRow(
            "total",
            "",
            "",
            sum(row.published or 0 for row in self.rows),
            sum(row.imported for row in self.rows),
            sum(row.canonical for row in self.rows),
        )

    def as_json(self) -> dict[str, Any]:
        """`total` counts the imported questions of `rows`."""
        total = self.total()
        return {
            "rows": [asdict(row) for row in self.rows],
            "total": total.imported,
            "total_canonical": total.canonical,
            "total_published": total.published,
            "held_out": [asdict(row) for row in self.held_out],
            "other": [asdict(row) for row in self.other],
        }


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """Questions that say the same and have different keys. `held_out` where any of them is."""

    fingerprint: str
    questions: list[Question]

    @property
    def held_out(self) -> bool:
        return any(question.held_out for question in self.questions)


@dataclass(frozen=True, slots=True)
class Contamination:
    """A held-out question and the trainable ones that say the same (or, with `same_stem`, only ask the same)."""

    held_out: Question
    trainable: list[Question]
    same_stem: bool


def composition() -> Composition:
    """One pass over the public questions (about 0.2 s at full size): for commands, or a page that caches it."""
    with connection.cursor() as cursor:
        cursor.execute(_COMPOSITION)
        counted = {row[:5]: row[5:] for row in cursor.fetchall()}
    rows = [_take(row, counted, held_out=False) for row in TABLE]
    held_out = [_take(row, counted, held_out=True) for row in HELD_OUT]
    other = [
        CompositionRow(slug, split, part, None, imported, canonical, _note(choices, held))
        for (slug, split, part, choices, held), (imported, canonical) in counted.items()
    ]
    return Composition(rows, held_out, other)


def key_conflicts(*, after: str = "", limit: int = 50) -> list[KeyConflict]:
    """Groups of public questions with the same text and different keys, by fingerprint; `after` is the last one shown.

    Found by the flag the import sets, so the list is short and needs no pass over all questions.
    """
    flagged = Question.objects.filter(flags__contains=[CONFLICTING_KEY], benchmark__project__isnull=True)
    flagged = flagged.exclude(flags=[]).filter(fingerprint__gt=after)
    wanted = list(flagged.order_by("fingerprint").values_list("fingerprint", flat=True).distinct()[:limit])
    members = Question.objects.filter(fingerprint__in=wanted, benchmark__project__isnull=True)
    found = members.select_related("benchmark").defer("search").order_by("fingerprint", "uid")
    return [KeyConflict(key, list(group)) for key, group in groupby(found, key=lambda question: question.fingerprint)]


def contamination(*, same_stem: bool = False, after: int = 0, limit: int = 50) -> list[Contamination]:
    """Held-out questions that stand among the trainable ones too, by id of the held-out one; `after` is the last shown.

    `same_stem` gives those that share only the stem (other options, or another abstract) instead.
    """
    column = "stem_fingerprint" if same_stem else "fingerprint"
    differ = "AND t.fingerprint <> h.fingerprint" if same_stem else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT h.id, links.ids FROM questions_question h JOIN questions_benchmark hb ON hb.id = h.benchmark_id
            CROSS JOIN LATERAL (
                SELECT array_agg(t.id ORDER BY t.id) AS ids FROM questions_question t
                JOIN questions_benchmark b ON b.id = t.benchmark_id
                WHERE t.{column} = h.{column} {differ} AND NOT t.held_out AND b.project_id IS NULL
            ) AS links
            WHERE h.held_out AND hb.project_id IS NULL AND h.id > %s AND links.ids IS NOT NULL ORDER BY h.id LIMIT %s
            """,  # noqa: S608 - the column is one of two constants
            [after, limit],
        )
        links = cursor.fetchall()
    wanted = {question_id for held_out, trainable in links for question_id in (held_out, *trainable)}
    found = Question.objects.select_related("benchmark").defer("search").in_bulk(wanted)
    return [
        Contamination(found[held_out], [found[question_id] for question_id in trainable], same_stem)
        for held_out, trainable in links
    ]


def _take(row: PublishedRow, counted: dict[Any, Any], *, held_out: bool) -> CompositionRow:
    """The published row with our counts, which are taken out of `counted`."""
    choices = 4 if row.benchmark == "medqa" else 0
    imported, canonical = counted.pop((row.benchmark, row.split, row.subject, choices, held_out), (0, 0))
    return CompositionRow(row.benchmark, row.split, row.subject, row.published, imported, canonical)


def _note(choices: int, held_out: bool) -> str:
    notes = [f"{choices} options"] if choices not in (0, 4) else []
    return ", ".join(notes + (["held out"] if held_out else []))
