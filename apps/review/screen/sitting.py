"""A sitting: ten items in a row. Read from the ledger alone, so that it goes on on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from apps.questions.models import Project
from apps.reasoning.models import Label, Verdict, VerdictSource
from apps.review.models import Claim, ClaimState, Judgment

LENGTH = 10
PAUSE = timedelta(hours=1)  # a longer one begins a new sitting
READ = 50  # claims at once


@dataclass(frozen=True, slots=True)
class Sitting:
    """`finished`: (claim, its state) of what was judged and passed on, in order; at most LENGTH. Only of the person
    themselves, never shown to others."""

    finished: tuple[tuple[int, str], ...]

    @property
    def done(self) -> int:
        return len(self.finished)

    @property
    def over(self) -> bool:
        return self.done >= LENGTH

    @property
    def judged(self) -> list[Claim]:
        """Read from the database, with item, queue and question."""
        ids = [pk for pk, state in self.finished if state == ClaimState.JUDGED]
        wide = Claim.objects.select_related("item__queue", "item__question").defer("item__question__search")
        claims = wide.in_bulk(ids)
        return [claims[pk] for pk in ids]


def current_sitting(project: Project, person: User) -> Sitting:
    """Items finished without a PAUSE between them, in lots of LENGTH; the last lot, full when it has just ended.

    Asked with every item shown: three columns of the latest claims are read, and nothing else.
    """
    row: list[tuple[int, str]] = []
    later = None
    for pk, state, at in _latest_first(project, person):
        if later is not None and later - at > PAUSE:
            break
        row.append((pk, state))
        later = at
    last = (len(row) - 1) % LENGTH + 1 if row else 0
    return Sitting(tuple(reversed(row[:last])))


_FINISHED = """
SELECT c.id, c.state, c.finished_at FROM review_claim c
JOIN review_queueitem i ON i.id = c.item_id JOIN review_reviewqueue q ON q.id = i.queue_id
WHERE c.reviewer_id = %s AND c.finished_at IS NOT NULL AND q.project_id = %s
ORDER BY c.finished_at DESC, c.id DESC LIMIT %s OFFSET %s"""


def _latest_first(project: Project, person: User) -> Iterator[tuple[int, str, datetime]]:
    """(claim, state, when) of what the person finished, a READ at a time."""
    for start in count(0, READ):
        with connection.cursor() as cursor:
            cursor.execute(_FINISHED, [person.pk, project.pk, READ, start])
            found: list[tuple[int, str, datetime]] = cursor.fetchall()
        yield from found
        if len(found) < READ:
            return


@dataclass(frozen=True, slots=True)
class Summary:
    judged: int
    passed_on: int
    disagreed: int
    records_changed: int
    active_ms: int
    lines: tuple[tuple[Claim, Judgment], ...]


def sum_up(sitting: Sitting) -> Summary:
    said = {j.claim_id: j for j in _judgments(sitting)}  # the latest of each claim
    judged = sitting.judged
    standing = [(claim, said[claim.pk]) for claim in judged if claim.pk in said]
    judges = dict(
        Verdict.objects.filter(
            source=VerdictSource.JUDGE,
            current=True,
            path__in=[claim.item.path_id for claim, _ in standing],
            run__in={claim.item.queue.run_id for claim, _ in standing},
        ).values_list("path", "label")
    )
    return Summary(
        judged=len(standing),
        passed_on=sitting.done - len(judged),
        disagreed=sum(
            judges.get(claim.item.path_id, Label.UNJUDGED) not in (Label.UNJUDGED, j.verdict.label)
            for claim, j in standing
        ),
        records_changed=sum(_records(j.verdict.details.get("consequences", {})) for _, j in standing),
        active_ms=sum(j.active_ms for j in _judgments(sitting)),
        lines=tuple(standing),
    )


def _judgments(sitting: Sitting) -> list[Judgment]:
    claims = [pk for pk, _ in sitting.finished]
    return list(Judgment.objects.filter(claim__in=claims).select_related("verdict").order_by("round"))


def _records(found: dict[str, Any]) -> int:
    return int(found.get("records_changed", 0)) + sum(_records(other) for other in found.get("others", ()))
