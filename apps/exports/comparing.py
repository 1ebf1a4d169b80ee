"""What differs between two snapshots: records added, removed and changed, and why. Reads their rows, never their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

from django.core.cache import cache
from django.db import connection

from apps.exports.models import ExportState, Snapshot, SnapshotOmission
from apps.questions.models import Question
from apps.reasoning.models import BASE_ORIGINS, ReasoningPath, Response
from apps.reasoning.words import origin_word

Kind = Literal["added", "removed", "changed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Why = Literal["tier", "label", "path", "response", "question", "records", "left_out", "run"]
WHYS: tuple[Why, ...] = get_args(Why)
WHY_WORDS: dict[Why, str] = {
    "tier": "the question’s tier changed",
    "label": "verdicts changed",
    "path": "another path is kept, or the path was rewritten again",
    "response": "the response was written again",
    "question": "the question’s text changed",
    "records": "the question keeps more or fewer records",
    "left_out": "one of the two left it out",
    "run": "the question is in one run only",
}
ON_PAGE = 50
KEPT_S = 24 * 3600  # snapshots that are done never change
LARGEST_ID, LARGEST_SLOT = 2**63 - 1, 2**15 - 1
FEW = 2_000  # differences that are kept whole, so that no page looks for them again


@dataclass(frozen=True, slots=True)
class Summary:
    """Records in each, those that are the same, and the others by kind and by (kind, why). Adds up on both sides."""

    before: int
    after: int
    same: int
    kinds: Mapping[str, int]
    whys: Mapping[tuple[str, str], int]

    @property
    def lines(self) -> list[tuple[str, str, int]]:
        """(kind, why, records), most first in each kind."""
        order = {str(kind): place for place, kind in enumerate(KINDS)}
        return sorted(((k, w, n) for (k, w), n in self.whys.items()), key=lambda x: (order[x[0]], -x[2], x[1]))


@dataclass(frozen=True, slots=True)
class Side:
    """A record as one of the two holds it; `state` and `reason`: why there is none, where the snapshot says so."""

    snapshot: UUID
    number: int | None  # none: it holds no such record
    tier: str
    errors: int | None
    path: int | None
    path_words: str  # "qwen2.5-72b #2, refined, revision 2"
    response_revision: int | None
    state: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    question: int
    uid: str
    slot: int
    kind: Kind
    why: Why
    before: Side
    after: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.before, self.after


@dataclass(frozen=True, slots=True)
class Slice:
    rows: list[Difference]
    after: str | None  # cursor of the page behind


def comparable(before: Snapshot, after: Snapshot) -> str:
    """Why the two cannot be compared; "" where they can."""
    for one in (before, after):
        if one.state != ExportState.DONE:
            return f"{one} is not done."
        if one.records and not one.held.exists():
            return f"{one} is from before records were written down one by one: export it again to compare it."
    return "Choose two different ones." if before.pk == after.pk else ""


def summarise(before: Snapshot, after: Snapshot) -> Summary:
    """One pass over both, kept for a day."""
    key = f"exports:compare:{before.pk}:{after.pk}"
    rows = cache.get(key)
    if rows is None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT kind, why, count(*) FROM ({_JOINED}) d GROUP BY 1, 2", _values(before, after))  # noqa: S608
            rows = cursor.fetchall()
        cache.set(key, rows, KEPT_S)
    whys = {(kind, why): n for kind, why, n in rows if kind != "same"}
    kinds: Counter[str] = Counter()
    for (kind, _), n in whys.items():
        kinds[kind] += n
    same = sum(n for kind, _, n in rows if kind == "same")
    return Summary(before.records, after.records, same, kinds, whys)


def differences(
    before: Snapshot, after: Snapshot, *, kind: str = "", why: str = "", cursor: str = "", limit: int = ON_PAGE
) -> Slice:
    """By question and slot. `cursor`: `after` of the page before; one that is none begins at the start."""
    place = _place(cursor)
    if sum(summarise(before, after).kinds.values()) <= FEW:
        every = _few(before, after)
        found = [r for r in every if r[:2] > place and kind in ("", r[2]) and why in ("", r[3])][: limit + 1]
    else:
        found = _many(before, after, kind=kind, why=why, place=place, limit=limit + 1)
    shown = found[:limit]
    rows = _described(before, after, shown)
    return Slice(rows, f"{shown[-1][0]}.{shown[-1][1]}" if len(found) > limit else None)


def _few(before: Snapshot, after: Snapshot) -> list[tuple[Any, ...]]:
    key = f"exports:differences:{before.pk}:{after.pk}"
    found: list[tuple[Any, ...]] | None = cache.get(key)
    if found is None:
        found = _many(before, after, limit=FEW)
        cache.set(key, found, KEPT_S)
    return found


def _many(
    before: Snapshot, after: Snapshot, *, limit: int, kind: str = "", why: str = "", place: tuple[int, int] = (0, 0)
) -> list[tuple[Any, ...]]:
    """Block after block of questions, each larger than the one before, until there are enough: soon, where there are many."""
    block = f"""
        SELECT * FROM ({_JOINED.replace("/* from */", "AND question_id BETWEEN %(question)s AND %(end)s")}) d
        WHERE kind <> 'same' AND (question_id, slot) > (%(question)s, %(slot)s)
          AND (%(kind)s = '' OR kind = %(kind)s) AND (%(why)s = '' OR why = %(why)s)
        ORDER BY question_id, slot LIMIT %(limit)s"""  # noqa: S608
    values = _values(before, after) | {"question": place[0], "slot": place[1], "kind": kind, "why": why}
    found: list[tuple[Any, ...]] = []
    size: int = FEW
    with connection.cursor() as cursor:
        while len(found) < limit and values["question"] is not None:
            cursor.execute(_BLOCK_END, values | {"size": size})
            (end,) = cursor.fetchone() or (None,)
            cursor.execute(block, values | {"end": end or LARGEST_ID, "limit": limit - len(found)})
            found += cursor.fetchall()
            values |= {"question": end, "slot": LARGEST_SLOT}
            size *= 8
    return found


def _described(before: Snapshot, after: Snapshot, rows: list[tuple[Any, ...]]) -> list[Difference]:
    """Four reads, whatever the number of rows."""
    questions = {row[0] for row in rows}
    uids = dict(Question.objects.filter(pk__in=questions).values_list("pk", "uid"))
    paths = ReasoningPath.objects.filter(pk__in={pk for row in rows for pk in (row[4], row[9]) if pk})
    words = {
        pk: path_words(origin, generator, sample, revision)
        for pk, origin, generator, sample, revision in paths.values_list(
            "pk", "origin", "generator", "sample", "revision"
        )
    }
    responses = Response.objects.filter(pk__in={pk for row in rows for pk in (row[5], row[10]) if pk})
    revisions = dict(responses.values_list("pk", "revision"))
    omitted = SnapshotOmission.objects.filter(snapshot__in=(before, after), question__in=questions)
    reasons = {
        (snapshot, question, slot): (state, reason)
        for snapshot, question, slot, state, reason in omitted.values_list(
            "snapshot", "question", "slot", "state", "reason"
        )
    }

    def side(snapshot: Snapshot, question: int, slot: int, values: Sequence[Any]) -> Side:
        path, response, tier, errors, number = values
        state, reason = reasons.get((snapshot.pk, question, slot)) or reasons.get((snapshot.pk, question, 0), ("", ""))
        there = number is not None
        return Side(
            snapshot.pk, number, tier or "", errors, path, words.get(path, ""), revisions.get(response),
            "" if there else state, "" if there else reason,
        )  # fmt: skip

    return [
        Difference(q, uids[q], slot, kind, why, side(before, q, slot, rest[:5]), side(after, q, slot, rest[5:]))
        for q, slot, kind, why, *rest in rows
    ]


def path_words(origin: str, generator: str, sample: int, revision: int) -> str:
    """ "qwen2.5-72b #2, refined, revision 2", "regenerated #1"."""
    base = origin in BASE_ORIGINS
    parts = [f"{generator} #{sample}" if generator else f"{origin_word(origin)} #{sample}"]
    if generator and not base:
        parts.append(origin_word(origin))
    if revision > 1:
        parts.append(f"revision {revision}")
    return ", ".join(parts)


def _values(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    return {"before": before.pk, "after": after.pk}


def _place(cursor: str) -> tuple[int, int]:
    question, _, slot = cursor.partition(".")
    if question.isdecimal() and slot.isdecimal() and len(question) < 19 and len(slot) < 5:
        return int(question), int(slot)
    return 0, 0


_MISSING = """CASE
      WHEN EXISTS (SELECT 1 FROM exports_snapshotomission o WHERE o.snapshot_id = %({there})s
        AND o.question_id = {here}.question_id AND o.slot IN (0, {here}.slot)) THEN 'left_out'
      WHEN EXISTS (SELECT 1 FROM exports_snapshotrecord r WHERE r.snapshot_id = %({there})s
        AND r.question_id = {here}.question_id) THEN 'records' ELSE 'run' END"""
_BLOCK_END = """
SELECT min(ended) FROM (
  (SELECT question_id AS ended FROM exports_snapshotrecord WHERE snapshot_id = %(before)s AND question_id >= %(question)s
   ORDER BY question_id OFFSET %(size)s LIMIT 1) UNION ALL
  (SELECT question_id FROM exports_snapshotrecord WHERE snapshot_id = %(after)s AND question_id >= %(question)s
   ORDER BY question_id OFFSET %(size)s LIMIT 1)) e"""
_COLUMNS = "question_id, slot, path_id, response_id, tier, errors, overridden, number, content"
_JOINED = f"""
SELECT coalesce(a.question_id, b.question_id) AS question_id, coalesce(a.slot, b.slot) AS slot,
  CASE WHEN a.slot IS NULL THEN 'added' WHEN b.slot IS NULL THEN 'removed' WHEN a.content = b.content THEN 'same'
    ELSE 'changed' END AS kind,
  CASE WHEN a.content = b.content THEN ''
    WHEN a.slot IS NULL THEN {_MISSING.format(here="b", there="before")}
    WHEN b.slot IS NULL THEN {_MISSING.format(here="a", there="after")}
    WHEN a.tier <> b.tier THEN 'tier'
    WHEN a.path_id <> b.path_id THEN CASE WHEN a.errors IS DISTINCT FROM b.errors THEN 'label' ELSE 'path' END
    WHEN a.response_id <> b.response_id THEN 'response' ELSE 'question' END AS why,
  a.path_id AS a_path, a.response_id AS a_response, a.tier AS a_tier, a.errors AS a_errors, a.number AS a_number,
  b.path_id AS b_path, b.response_id AS b_response, b.tier AS b_tier, b.errors AS b_errors, b.number AS b_number
FROM (SELECT {_COLUMNS} FROM exports_snapshotrecord WHERE snapshot_id = %(before)s /* from */) a
FULL JOIN (SELECT {_COLUMNS} FROM exports_snapshotrecord WHERE snapshot_id = %(after)s /* from */) b
  ON a.question_id = b.question_id AND a.slot = b.slot"""  # noqa: S608
