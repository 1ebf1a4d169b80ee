"""What pages and the API read of queues: items as a person may see them, progress of one's own and of a queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from apps.questions.models import Project, Question
from apps.reasoning.models import Label, Verdict, VerdictSource
from apps.reasoning.sentences import SPLITTER_VERSION, Sentence, split_sentences
from apps.review.models import Claim, ClaimState, Judgment, Phase, QueueCount, QueueItem, QueueState, ReviewQueue, Skip
from apps.review.queues.joined import read_item
from apps.review.queues.judging import JudgeResult
from apps.review.queues.reveal import GoldFeedback, Reveal, gold_feedback, may_reveal, reveal

FEWEST_PEOPLE = 5  # below, an aggregate of active time would tell of persons
PACE_WINDOW = timedelta(hours=1)
LEAST_FOR_PACE_MS = 60_000  # less tells nothing


def queues_of(project: Project, user: User) -> QuerySet[ReviewQueue]:
    """The queues the person may see, newest first."""
    return ReviewQueue.objects.visible_to(user).filter(project=project).select_related("run").order_by("-pk")


def find_item(project: Project, user: User, item_id: int) -> QueueItem | None:
    """An item of a queue that the person may see; none otherwise, as if it were not there. All that `view_item` shows is read."""
    item = read_item(min(item_id, 2**63 - 1))
    if item is None or item.queue.project_id != project.pk or not item.queue.visible_to(user):
        return None
    item.queue.project = item.queue.run.project = project
    return item


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item on someone's screen. `reveal` and `generator` … are none as long as the queue is blind to this person.

    `mine` is the person's latest judgment, none when there is none or it was undone.
    """

    item: QueueItem
    claim: Claim
    question: Question
    answer: str
    sentences: list[Sentence]
    splitter: int
    reveal: Reveal | None
    gold: GoldFeedback | None
    mine: Judgment | None


def view_item(claim: Claim, item: QueueItem | None = None, *, done: JudgeResult | None = None) -> ItemView:
    """What the claim's person may see of its item now. `item`: its own, as `find_item` gave it, and `done`: what a save
    has just answered, if at hand."""
    if item is None:
        item = read_item(claim.item_id)
        if item is None:
            raise QueueItem.DoesNotExist
    if done is not None and done.replayed:
        done = None  # it may have been judged again meanwhile
    latest = done.judgment if done else _latest(claim)
    mine = latest if latest is not None and latest.phase != Phase.UNDONE else None
    return ItemView(
        item=item,
        claim=claim,
        question=item.question,
        answer=item.path.answer,
        sentences=split_sentences(item.path.text),
        splitter=SPLITTER_VERSION,
        reveal=((done and done.reveal) or reveal(item)) if may_reveal(item, claim) else None,
        gold=gold_feedback(item, mine.verdict.label) if mine is not None else None,
        mine=mine,
    )


def _latest(claim: Claim) -> Judgment | None:
    if not claim.version:  # nobody judged under it yet
        return None
    return claim.judgments.select_related("verdict").order_by("-round").first()


@dataclass(frozen=True, slots=True)
class MyProgress:
    """A person's own figures, for that person alone. `pace`: judgments an hour of active time, over the last hour's.

    `gold_*` compare first judgments of gold items with what is right; queues that give no feedback are left out, or
    the figures would tell which items are gold.
    """

    judged_today: int
    judged: int
    skipped: int
    pace: float | None
    active_ms_today: int
    active_ms: int
    gold_judged: int
    gold_agreed: int
    disagreed_today: int  # items of today on which they differ from the judge


def my_progress(reviewer: User, *, queue: ReviewQueue | None = None, project: Project | None = None) -> MyProgress:
    """In one queue, or in all of a project."""
    scope = Q(item__queue=queue) if queue is not None else Q(item__queue__project=project)
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    said = Judgment.objects.filter(scope, reviewer=reviewer)
    judged = Claim.objects.filter(scope, reviewer=reviewer, state=ClaimState.JUDGED)
    time = said.aggregate(today=Sum("active_ms", filter=Q(created_at__gte=midnight)), ever=Sum("active_ms"))
    recent = said.filter(created_at__gte=timezone.now() - PACE_WINDOW, phase=Phase.FIRST)
    sprint = recent.aggregate(n=Count("pk"), ms=Sum("active_ms"))
    gold = said.filter(phase=Phase.FIRST, item__queue__feedback=True).exclude(item__gold_label="")
    first_gold = gold.order_by("claim", "round").distinct("claim").values_list("verdict__label", "item__gold_label")
    gold_pairs = list(first_gold)
    return MyProgress(
        judged_today=judged.filter(finished_at__gte=midnight).count(),
        judged=judged.count(),
        skipped=Skip.objects.filter(scope, reviewer=reviewer).count(),
        pace=sprint["n"] * 3_600_000 / sprint["ms"] if (sprint["ms"] or 0) >= LEAST_FOR_PACE_MS else None,
        active_ms_today=time["today"] or 0,
        active_ms=time["ever"] or 0,
        gold_judged=len(gold_pairs),
        gold_agreed=sum(label == right for label, right in gold_pairs),
        disagreed_today=_disagreed(judged.filter(finished_at__gte=midnight)),
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """`judgments` of `wanted`, and items: all, finished, set aside."""

    size: int = 0
    judgments: int = 0
    wanted: int = 0
    finished: int = 0
    set_aside: int = 0


def tallies_of(queues: Iterable[ReviewQueue]) -> dict[int, Tally]:
    """{queue id: how far it is}, in one statement that reads no item."""
    listed = list(queues)
    sums = [Sum(name) for name in ("judgments", "finished", "set_aside")]
    rows = QueueCount.objects.filter(queue__in=listed).values_list("queue").annotate(*sums)
    counted: dict[int, tuple[int, int, int]] = {queue: (said, done, aside) for queue, said, done, aside in rows}
    found = {}
    for queue in listed:
        judgments, finished, aside = counted.get(queue.pk, (0, 0, 0))
        wanted = queue.overlap * (queue.size - aside)
        found[queue.pk] = Tally(queue.size, judgments, wanted, finished, aside)
    return found


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """For curators. `judgments` of `wanted`; `active_ms` is the mean a judgment, none for fewer than five people."""

    size: int
    finished: int
    judgments: int
    wanted: int
    set_aside: int
    live: int
    skips: dict[str, int]
    flagged: int
    people: int
    active_ms: float | None
    next_expiry: datetime | None


def queue_progress(queue: ReviewQueue) -> QueueProgress:
    tally = tallies_of([queue])[queue.pk]
    now = timezone.now()
    live = Claim.objects.filter(item__queue=queue, state=ClaimState.LIVE, slot__isnull=False, expires_at__gt=now)
    people, active_ms, flagged = _said_in(queue)
    skips = Skip.objects.filter(item__queue=queue).values_list("reason").annotate(n=Count("pk")).order_by("reason")
    return QueueProgress(
        size=queue.size,
        finished=tally.finished,
        judgments=tally.judgments,
        wanted=tally.wanted,
        set_aside=tally.set_aside,
        live=live.count(),
        skips=dict(skips),
        flagged=flagged,
        people=people,
        active_ms=active_ms if people >= FEWEST_PEOPLE else None,
        next_expiry=live.order_by("expires_at").values_list("expires_at", flat=True).first(),
    )


# The items come as an array from their own index: joined, the planner walks every item of every queue in order of id.
_SAID = """
SELECT count(DISTINCT reviewer_id), avg(active_ms)::float8, count(DISTINCT item_id) FILTER (WHERE flagged)
FROM review_judgment WHERE phase <> 'undone' AND item_id = ANY(ARRAY(
  SELECT id FROM review_queueitem WHERE queue_id = %s AND (done > 0 OR NOT open)))"""


def _said_in(queue: ReviewQueue) -> tuple[int, float | None, int]:
    """(people, mean time at work, flagged items) of judgments that nobody took back, on items that someone judged."""
    with connection.cursor() as cursor:
        cursor.execute(_SAID, [queue.pk])
        people, active_ms, flagged = cursor.fetchone()
    return people, active_ms, flagged


def first_blind_judgments(*, project: Project, queue: ReviewQueue | None = None) -> QuerySet[Judgment]:
    """What calibration may use: each person's last judgment of an item before the judge's verdict was shown to them,
    if they did not take it back by then; gold and practice left out. With `verdict` and `item`."""
    blind = Judgment.objects.filter(blind=True, item__gold_label="", item__queue__practice=False)
    blind = blind.filter(item__queue=queue) if queue is not None else blind.filter(item__queue__project=project)
    later = Judgment.objects.filter(claim=OuterRef("claim"), blind=True, round__gt=OuterRef("round"))
    return blind.exclude(Exists(later)).exclude(phase=Phase.UNDONE).select_related("verdict", "item").order_by("pk")


def resumable(project: Project, user: User) -> Claim | None:
    """The item the person left open last, wherever that was: what "go on" opens."""
    return (
        Claim.objects.filter(
            item__queue__project=project, item__queue__state=QueueState.OPEN, reviewer=user, state=ClaimState.LIVE,
            item__open=True,
        )
        .select_related("item__queue")
        .order_by("-expires_at")
        .first()
    )  # fmt: skip


def _disagreed(judged: QuerySet[Claim]) -> int:
    """Items whose standing judgment differs from the label of the queue's judge."""
    judges = Verdict.objects.filter(
        path=OuterRef("item__path"), run=OuterRef("item__queue__run"), source=VerdictSource.JUDGE, current=True
    ).exclude(label__in=(OuterRef("said"), Label.UNJUDGED))
    latest = Judgment.objects.filter(claim=OuterRef("pk")).order_by("-round").values("verdict__label")[:1]
    return judged.annotate(said=latest).filter(Exists(judges)).count()
