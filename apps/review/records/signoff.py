"""How much of a tier people must sign off before it may leave, and how much they did."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection

from apps.reasoning.models import Run, Tier


@dataclass(frozen=True, slots=True)
class SignOff:
    """Of one tier for which the run asks for it. `share` is 0–1 of `records`; an acceptance counts while the content is the same."""

    tier: str
    share: float
    records: int
    signed: int

    @property
    def needed(self) -> int:
        return math.ceil(round(self.share * self.records, 6))

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.signed)

    @property
    def words(self) -> str:
        """ "medium: 3 of 12 records are signed off, 6 are needed (50 %)"."""
        share = f"{100 * self.share:g} %"
        return f"{self.tier}: {self.signed:,} of {self.records:,} records are signed off, {self.needed:,} are needed ({share})"


def sign_offs(required: Mapping[str, float], *, records: Mapping[str, int], signed: Mapping[str, int]) -> list[SignOff]:
    """One a tier with a requirement, in the order of tiers. `records` and `signed` count by tier."""
    return [
        SignOff(tier, required[tier], records.get(tier, 0), signed.get(tier, 0))
        for tier in Tier.values
        if required.get(tier)
    ]


def refusal(found: list[SignOff]) -> str:
    """Why the run may not be exported yet; "" where it may."""
    short = [s for s in found if s.missing]
    if not short:
        return ""
    missing = sum(s.missing for s in short)
    return (
        f"The run asks people to sign records off before they leave, and {missing:,} more must be accepted: "
        f"{'; '.join(s.words for s in short)}."
    )


def count_signed_off(run: Run) -> Counter[str]:
    """Accepted records that would leave now, by tier: path and response are still those that were read."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT rq.tier, count(*) FROM review_recorddecision d
            JOIN reasoning_runquestion rq ON rq.run_id = d.run_id AND rq.question_id = d.question_id AND rq.state = 'ready'
            JOIN questions_question q ON q.id = d.question_id AND (NOT q.held_out OR %(held_out)s)
            JOIN reasoning_selection s ON s.run_id = d.run_id AND s.question_id = d.question_id AND s.path_id = d.path_id
              AND s.current
            JOIN reasoning_response r ON r.id = d.response_id AND r.current
            WHERE d.run_id = %(run)s AND d.current AND d.decision = 'accepted' GROUP BY rq.tier""",
            {"run": run.pk, "held_out": run.allow_held_out},
        )
        return Counter(dict(cursor.fetchall()))
