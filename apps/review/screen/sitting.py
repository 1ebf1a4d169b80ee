"""A sitting: ten items in a row. Read from the ledger alone, so that it goes on on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User

from apps.questions.models import Project
from apps.reasoning.models import Label, Verdict, VerdictSource
from apps.review.models import Claim, ClaimState, Judgment

LENGTH = 10
PAUSE = timedelta(hours=1)  # a longer one begins a new sitting
LOOKED_AT = 200  # claims, the latest ones


@dataclass(frozen=True, slots=True)
class Sitting:
    """`claims`: judged and passed on, in order; at most LENGTH. Only of the person themselves, never shown to others."""

    claims: tuple[Claim, ...]

    @property
    def done(self) -> int:
        return len(self.claims)

    @property
    def over(self) -> bool:
        return self.done >= LENGTH

    @property
    def judged(self) -> list[Claim]:
        return [claim for claim in self.claims if claim.state == ClaimState.JUDGED]


def current_sitting(project: Project, person: User) -> Sitting:
    """Items finished without a PAUSE between them, in lots of LENGTH; the last lot, full when it has just ended."""
    finished = Claim.objects.filter(reviewer=person, item__queue__project=project, finished_at__isnull=False)
    latest = list(finished.select_related("item__queue", "item__question").order_by("-finished_at", "-pk")[:LOOKED_AT])
    row: list[Claim] = []
    for claim in latest:
        if row and row[-1].finished_at - claim.finished_at > PAUSE:  # type: ignore[operator]
            break
        row.append(claim)
    row.reverse()
    first = (len(row) - 1) // LENGTH * LENGTH if row else 0
    return Sitting(tuple(row[first:]))


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
    standing = [(claim, said[claim.pk]) for claim in sitting.judged if claim.pk in said]
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
        passed_on=sitting.done - len(sitting.judged),
        disagreed=sum(
            judges.get(claim.item.path_id, Label.UNJUDGED) not in (Label.UNJUDGED, j.verdict.label)
            for claim, j in standing
        ),
        records_changed=sum(_records(j.verdict.details.get("consequences", {})) for _, j in standing),
        active_ms=sum(j.active_ms for j in _judgments(sitting)),
        lines=tuple(standing),
    )


def _judgments(sitting: Sitting) -> list[Judgment]:
    claims = [claim.pk for claim in sitting.claims]
    return list(Judgment.objects.filter(claim__in=claims).select_related("verdict").order_by("round"))


def _records(found: dict[str, Any]) -> int:
    return int(found.get("records_changed", 0)) + sum(_records(other) for other in found.get("others", ()))
