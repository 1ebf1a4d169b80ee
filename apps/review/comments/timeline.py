"""Everything that was judged, decided and said about a question in a run, newest first, a page at a time.

One statement finds the page's events over the narrow columns of all tables; each kind's rows are then read at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, QuerySet

from apps.reasoning.models import BASE_ORIGINS, ReasoningPath, Response, RunQuestion, Selection, Verdict, VerdictSource
from apps.reasoning.words import origin_word
from apps.review.models import QuestionFlag
from apps.review.models_records import Comment, Decision, OverrideKind, ReasonMark, RecordDecision, RecordOverride

EVENTS_ON_PAGE = 40

_EVENTS = """
SELECT at, kind, id FROM (
  SELECT v.created_at AS at, 'verdict' AS kind, v.id FROM reasoning_verdict v
    JOIN reasoning_reasoningpath p ON p.id = v.path_id
    WHERE p.question_id = %(question)s AND ((v.source = 'judge' AND v.run_id = %(run)s)
      OR (v.source <> 'judge' AND v.project_id = %(project)s))
      AND (p.run_id IN (%(run)s, %(paths_run)s))
  UNION ALL SELECT created_at, 'selection', id FROM reasoning_selection WHERE run_id = %(run)s AND question_id = %(question)s
  UNION ALL SELECT r.created_at, 'response', r.id FROM reasoning_response r
    JOIN reasoning_reasoningpath p ON p.id = r.path_id WHERE r.run_id = %(run)s AND p.question_id = %(question)s
  UNION ALL SELECT created_at, 'override', id FROM review_recordoverride WHERE run_id = %(run)s AND question_id = %(question)s
    AND kind <> 'response'
  UNION ALL SELECT created_at, 'decision', id FROM review_recorddecision WHERE run_id = %(run)s AND question_id = %(question)s
  UNION ALL SELECT m.created_at, 'mark', m.id FROM review_reasonmark m
    JOIN reasoning_reasoningpath p ON p.id = m.after_id WHERE p.question_id = %(question)s
      AND p.run_id IN (%(run)s, %(paths_run)s)
  UNION ALL SELECT created_at, 'flag', id FROM review_questionflag WHERE question_id = %(question)s AND project_id = %(project)s
  UNION ALL SELECT resolved_at, 'flag_resolved', id FROM review_questionflag
    WHERE question_id = %(question)s AND project_id = %(project)s AND resolved_at IS NOT NULL
  UNION ALL SELECT created_at, 'comment', id FROM review_comment WHERE question_id = %(question)s AND project_id = %(project)s
) e
WHERE %(at)s::timestamptz IS NULL OR (at, kind, id) < (%(at)s::timestamptz, %(kind)s, %(id)s)
ORDER BY at DESC, kind DESC, id DESC LIMIT %(limit)s"""


@dataclass(frozen=True, slots=True)
class Event:
    """`who` is none for a model. `path_id`: the path it is about; `label`: a verdict's; `icon`: one of the sprite's."""

    at: datetime
    icon: str
    title: str
    who: User | None = None
    words: str = ""
    detail: str = ""
    label: str = ""
    path_id: int | None = None
    past: bool = False  # replaced by a later one
    path_name: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    events: list[Event]
    after: str  # cursor of the next page; "" on the last


def read_timeline(row: RunQuestion, cursor: str = "", *, size: int = EVENTS_ON_PAGE) -> Timeline:
    """The page of events older than `cursor`. `row` with its run read."""
    keys = _find(row, _parse(cursor), size + 1)
    page, more = keys[:size], len(keys) > size
    wanted: dict[str, list[int]] = defaultdict(list)
    for _, kind, pk in page:
        wanted[kind].append(pk)
    told: dict[tuple[str, int], Event] = {}
    for kind, ids in wanted.items():
        read, tell = KINDS[kind]
        told.update({(kind, thing.pk): tell(thing) for thing in read(ids)})
    last = page[-1] if more else None
    events = _named([told[kind, pk] for _, kind, pk in page if (kind, pk) in told])
    return Timeline(events, f"{last[0].isoformat()}~{last[1]}~{last[2]}" if last else "")


def _named(events: list[Event]) -> list[Event]:
    """With the names of the paths they are about, in one statement."""
    paths = ReasoningPath.objects.only("origin", "generator", "sample", "revision").in_bulk(
        {e.path_id for e in events if e.path_id}
    )
    return [replace(e, path_name=_path_name(paths[e.path_id])) if e.path_id in paths else e for e in events]


def _path_name(path: ReasoningPath) -> str:
    """ "qwen2.5-72b #2, refined, revision 2"."""
    base = path.origin in BASE_ORIGINS
    name = f"{path.generator or 'new path'} #{path.sample}{'' if base else f', {origin_word(path.origin)}'}"
    return f"{name}, revision {path.revision}" if path.revision > 1 else name


Key = tuple[datetime, str, int]


def _find(row: RunQuestion, after: Key | None, limit: int) -> list[Key]:
    at, kind, pk = after or (None, "", 0)
    parameters = {
        "question": row.question_id, "run": row.run_id, "paths_run": row.run.paths_run_id, "project": row.run.project_id,
        "at": at, "kind": kind, "id": pk, "limit": limit,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, parameters)
        return [(at, str(kind), int(pk)) for at, kind, pk in cursor.fetchall()]


def _parse(raw: str) -> Key | None:
    """A cursor that is none gives the first page."""
    try:
        at, kind, pk = raw.split("~")
        found = datetime.fromisoformat(at)
        return (found, kind, int(pk)) if found.tzinfo and kind in KINDS and 0 <= int(pk) < 2**63 else None
    except ValueError:
        return None


def _verdict(v: Verdict) -> Event:
    judge = v.source == VerdictSource.JUDGE
    if v.label == "unjudged" and not judge:
        title = "took back a verdict"
    elif v.source == VerdictSource.ADJUDICATION:
        title = "adjudicated"
    else:
        title = f"Judge, round {v.round}" if judge else "judged"
    title += "" if v.counts else ", only measuring"
    followed = str(v.details.get("consequences", {}).get("summary", ""))
    icon = "key" if judge else "person"
    return Event(v.created_at, icon, title, v.reviewer, v.reason, followed, v.label, v.path_id, not v.current)


def _selection(s: Selection) -> Event:
    return Event(
        s.created_at, "out", f"Kept for record {s.slot}", None, "", s.why, "", s.path_id or s.source_id, not s.current
    )


def _response(r: Response) -> Event:
    title = f"wrote the response, revision {r.revision}" if r.author else f"Response, revision {r.revision}"
    said = f"answers {r.answer}" if r.answer else "answers nothing"
    return Event(r.created_at, "quote", title, r.author, "", said, "", r.path_id, not r.current)


def _override(o: RecordOverride) -> Event:
    if o.kind == OverrideKind.TIER:
        title = f"set the tier to {o.tier}" if o.tier else "gave the tier back to the error count"
    elif o.kind == OverrideKind.PATH:
        title = "rewrote a kept path"
    else:
        title = "chose the paths to keep" if o.paths else "gave the choice back to the ranker"
    return Event(
        o.created_at,
        "sort",
        title,
        o.by,
        o.reason,
        str(o.consequences.get("summary", "")),
        path_id=o.path_id,
        past=not o.current,
    )


DECIDED = {
    Decision.ACCEPTED: ("check", "accepted"),
    Decision.RETURNED: ("stale", "returned"),
    Decision.EXCLUDED: ("cross", "excluded"),
    Decision.WITHDRAWN: ("minus", "took back the decision about"),
}


def _decision(d: RecordDecision) -> Event:
    icon, verb = DECIDED[Decision(d.decision)]
    followed = "" if d.decision == Decision.ACCEPTED else str(d.consequences.get("summary", ""))
    return Event(d.created_at, icon, f"{verb} record {d.slot}", d.by, d.reason, followed, "", d.path_id, not d.current)


def _mark(m: ReasonMark) -> Event:
    title = f"marked a reason as {m.get_mark_display().lower()}"
    return Event(m.created_at, "equal", title, m.by, "", m.verdict.reason, "", m.after_id, not m.current)


def _flag(f: QuestionFlag) -> Event:
    return Event(f.created_at, "flag", f"flagged the question: {f.get_kind_display().lower()}", f.reviewer, f.note)


def _flag_resolved(f: QuestionFlag) -> Event:
    verb = "upheld" if f.state == "upheld" else "revoked"
    return Event(f.resolved_at or f.created_at, "flag", f"{verb} a flag: {f.get_kind_display().lower()}", f.resolved_by, f.resolution)  # fmt: skip


def _comment(c: Comment) -> Event:
    return Event(c.created_at, "quote", "answered" if c.thread_id else "commented", c.author, c.text, "", "", c.path_id)


def _reader(rows: QuerySet[Any]) -> Callable[[Sequence[int]], Iterable[Any]]:
    return lambda ids: rows.filter(pk__in=ids)


KINDS: dict[str, tuple[Callable[[Sequence[int]], Iterable[Model]], Callable[[Any], Event]]] = {
    "verdict": (_reader(Verdict.objects.select_related("reviewer")), _verdict),
    "selection": (_reader(Selection.objects.all()), _selection),
    "response": (_reader(Response.objects.select_related("author").defer("text")), _response),
    "override": (_reader(RecordOverride.objects.select_related("by")), _override),
    "decision": (_reader(RecordDecision.objects.select_related("by")), _decision),
    "mark": (_reader(ReasonMark.objects.select_related("by", "verdict")), _mark),
    "flag": (_reader(QuestionFlag.objects.select_related("reviewer")), _flag),
    "flag_resolved": (_reader(QuestionFlag.objects.select_related("resolved_by")), _flag_resolved),
    "comment": (_reader(Comment.objects.select_related("author")), _comment),
}
