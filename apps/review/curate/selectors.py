"""What a curator sees of queues. Nothing here ranks people: time and agreement with gold come from five or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from apps.questions.models import Project
from apps.review.models import Claim, ClaimState, FlagState, Judgment, Phase, QuestionFlag, QueueItem, ReviewQueue
from apps.review.queues.selectors import FEWEST_PEOPLE, Tally, tallies_of
from apps.review.statistics.intervals import wilson

LISTED = 50
MOST_STRATA = 300
KEPT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class QueueRow:
    """`at_work`: people with an item on their screen now; `next_expiry`: when the first of those items lapses."""

    queue: ReviewQueue
    tally: Tally
    people: int
    at_work: int
    next_expiry: datetime | None


def queue_rows(queues: Sequence[ReviewQueue]) -> list[QueueRow]:
    """Two statements for any number of queues; they read claims, never items."""
    tallies = tallies_of(queues)
    alive = Q(state=ClaimState.LIVE, slot__isnull=False, expires_at__gt=timezone.now())
    counted = (
        Claim.objects.filter(item__queue__in=queues)
        .values("item__queue")
        .annotate(
            people=Count("reviewer", distinct=True, filter=Q(state=ClaimState.JUDGED)),
            at_work=Count("reviewer", distinct=True, filter=alive),
            next_expiry=Min("expires_at", filter=alive),
        )
    )
    claims = {row["item__queue"]: (row["people"], row["at_work"], row["next_expiry"]) for row in counted}
    return [QueueRow(queue, tallies[queue.pk], *claims.get(queue.pk, (0, 0, None))) for queue in queues]


def queues_before(project: Project, before: int | None) -> QuerySet[ReviewQueue]:
    found = ReviewQueue.objects.filter(project=project).select_related("run").order_by("-pk")
    return found if before is None else found.filter(pk__lt=before)


@dataclass(frozen=True, slots=True)
class StratumRow:
    """`low`, `high`: the items' inclusion probability, none where the plan is no probability sample."""

    name: str
    items: int
    finished: int
    judgments: int
    set_aside: int
    low: float | None
    high: float | None


def strata_of(queue: ReviewQueue) -> list[StratumRow]:
    """At most MOST_STRATA rows. How a queue was drawn stays, so it is read once and kept; what was done with its items
    is read from those that someone touched."""
    key = f"strata:{queue.pk}:{queue.size}:{queue.created_at.timestamp()}"
    drawn: list[tuple[str, int, float | None, float | None]] | None = cache.get(key)
    if drawn is None:
        drawn = _drawn(queue)
        cache.set(key, drawn, KEPT_S)
    touched = QueueItem.objects.filter(Q(done__gt=0) | Q(open=False), queue=queue).values_list("stratum")
    counted = touched.annotate(
        finished=Count("pk", filter=Q(open=False, set_aside=False)),
        said=Sum("done"),
        aside=Count("pk", filter=Q(set_aside=True)),
    ).order_by("stratum")
    done = {stratum: (finished, said, aside) for stratum, finished, said, aside in counted}
    return [StratumRow(name, items, *done.get(name, (0, 0, 0)), low, high) for name, items, low, high in drawn]


def _drawn(queue: ReviewQueue) -> list[tuple[str, int, float | None, float | None]]:
    """(stratum, items, lowest and highest inclusion probability), over all items of the queue."""
    rows = QueueItem.objects.filter(queue=queue).values_list("stratum").order_by("stratum")
    found = rows.annotate(items=Count("pk"), low=Min("inclusion_probability"), high=Max("inclusion_probability"))
    return list(found[:MOST_STRATA])


@dataclass(frozen=True, slots=True)
class Held:
    """Items on people's screens, the first to lapse first; `lapsed` have passed their time and still stand."""

    claims: list[Claim]
    alive: int
    lapsed: int
    now: datetime


def held_items(queue: ReviewQueue) -> Held:
    now = timezone.now()
    live = Claim.objects.filter(item__queue=queue, state=ClaimState.LIVE)
    counts = live.aggregate(
        alive=Count("pk", filter=Q(expires_at__gt=now)), lapsed=Count("pk", filter=Q(expires_at__lte=now))
    )
    listed = live.select_related("reviewer", "item__question").defer("item__question__search").order_by("expires_at")
    return Held(list(listed[:LISTED]), counts["alive"], counts["lapsed"], now)


def flagged_judgments(queue: ReviewQueue) -> list[Judgment]:
    """Judgments that stand and say that someone should look, the newest first."""
    rows = Judgment.objects.filter(item__queue=queue, flagged=True, round=F("claim__version"))
    rows = rows.exclude(phase=Phase.UNDONE).select_related("reviewer", "item__question")
    return list(rows.defer("item__question__search").order_by("-pk")[:LISTED])


def flags_of(queue: ReviewQueue) -> list[QuestionFlag]:
    """Why questions of the queue are set aside, the newest first."""
    inside = QueueItem.objects.filter(queue=queue, question=OuterRef("question"), set_aside=True)
    rows = QuestionFlag.objects.filter(Exists(inside), project=queue.project_id).exclude(state=FlagState.REVOKED)
    return list(rows.select_related("reviewer", "question").defer("question__search").order_by("-pk")[:LISTED])


@dataclass(frozen=True, slots=True)
class GoldAgreement:
    """First judgments of gold items that say what is right. Only for five people or more."""

    judged: int
    agreed: int
    people: int
    low: float
    high: float


def gold_agreement(queue: ReviewQueue) -> GoldAgreement | None:
    first = Judgment.objects.filter(item__queue=queue, phase=Phase.FIRST, round=1).exclude(item__gold_label="")
    found = first.aggregate(
        judged=Count("pk"),
        agreed=Count("pk", filter=Q(verdict__label=F("item__gold_label"))),
        people=Count("reviewer", distinct=True),
    )
    if found["people"] < FEWEST_PEOPLE:
        return None
    low, high = wilson(found["agreed"], found["judged"])
    return GoldAgreement(found["judged"], found["agreed"], found["people"], low, high)
