"""Handing out items: each place of an item to one person at a time, for as long as they are at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from apps.review.models import Claim, ClaimState, QueueItem, QueueState, ReviewQueue, Skip, SkipReason
from apps.review.queues.errors import ItemLost, NotAdmitted, QueueError
from apps.review.queues.said import clean_text

LEASE = timedelta(minutes=10)  # without a heartbeat; pages send one a minute
HEARTBEAT_S = 60
NOT_HELD = "You do not hold this item. Take the next one from the queue."
LOCK = "FOR NO KEY UPDATE OF i SKIP LOCKED"
WAIT = "FOR NO KEY UPDATE OF i"  # when all that is free is being handed out at this moment: nobody goes away empty

# `taken` and `free_at` are columns of the row that is locked, so PostgreSQL looks at them again as they are once it has
# the lock; a subquery over the claims would be answered from before. `free_at` may be early, never late.
_CANDIDATE = """
SELECT i.* FROM review_queueitem i
WHERE i.queue_id = %(queue)s AND i.open AND i.position > %(after)s AND (i.taken < %(overlap)s OR i.free_at <= %(now)s)
  AND i.id <> ALL(%(passed)s)
  AND EXISTS (SELECT 1 FROM reasoning_reasoningpath p WHERE p.id = i.path_id AND p.current)
  AND NOT EXISTS (SELECT 1 FROM review_claim c WHERE c.item_id = i.id AND c.reviewer_id = %(reviewer)s
                  AND c.state <> 'released')
  AND NOT EXISTS (SELECT 1 FROM reasoning_verdict v WHERE v.path_id = i.path_id AND v.project_id = %(project)s
                  AND v.reviewer_id = %(reviewer)s AND v.current AND v.label <> 'unjudged')
ORDER BY i.position LIMIT 1 """


def claim_next(*, queue: ReviewQueue, reviewer: User, prefetch: int = 1) -> list[Claim]:
    """The person's open items first (on whatever machine they were begun), then new ones: at most 1 + `prefetch`.

    Empty when nothing comes; `why_empty` says why. Raises NotAdmitted.
    """
    admit(queue, reviewer)
    if queue.state != QueueState.OPEN:
        return []
    with transaction.atomic():
        with connection.cursor() as cursor:  # two windows of one person wait for each other
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [queue.pk % 2**31, reviewer.pk % 2**31])
        claims = _resume(queue, reviewer, 1 + prefetch)
        passed: list[int] = []
        after = _last_position(queue, reviewer) if len(claims) < 1 + prefetch else 0
        while len(claims) < 1 + prefetch:
            item = _candidate(queue, reviewer, passed, LOCK, after) or _candidate(queue, reviewer, passed, LOCK)
            if item is None and not claims:  # holding no item, one may wait for one
                item = _candidate(queue, reviewer, passed, WAIT)
            if item is None:
                break
            claim = _take(item, queue, reviewer)
            if claim is None:
                passed.append(item.pk)  # its claims are alive after all; `free_at` is right now
            else:
                claims.append(claim)
    return claims


def heartbeat(*, queue: ReviewQueue, reviewer: User) -> list[int]:
    """Keep the person's open items theirs for another LEASE; returns the ids of the items they still hold."""
    alive = Claim.objects.filter(item__queue=queue, reviewer=reviewer, state=ClaimState.LIVE, slot__isnull=False)
    with transaction.atomic():  # one that is locked is being saved at this moment: it needs no heartbeat
        ids = list(alive.select_for_update(no_key=True, skip_locked=True, of=("self",)).values_list("pk", flat=True))
        Claim.objects.filter(pk__in=ids).update(expires_at=timezone.now() + LEASE)
    return list(alive.order_by("item__position").values_list("item_id", flat=True))


def skip_item(*, item: QueueItem, reviewer: User, reason: str, note: str = "") -> Skip:
    """Pass it on: it never comes back to this person, and nobody holds it against them. The same again: the same answer."""
    if reason not in SkipReason.values:
        raise QueueError("Choose why you skip it.", field="reason")
    admit(item.queue, reviewer)
    with transaction.atomic():
        locked = lock_item(item.pk)
        claim = own_claim(locked, reviewer)
        if claim.state == ClaimState.JUDGED:
            raise QueueError("You have judged this item. Undo that first.")
        skip, _ = Skip.objects.get_or_create(
            item=locked, reviewer=reviewer, defaults={"reason": reason, "note": clean_text(note)[:500]}
        )
        now = timezone.now()
        Claim.objects.filter(pk=claim.pk).update(state=ClaimState.SKIPPED, slot=None, finished_at=now)
        settle_item(locked)
    return skip


def release_item(*, item: QueueItem, reviewer: User | None = None) -> int:
    """Take live claims away (of one person, or all), so that others get the item; what was judged stays. How many."""
    with transaction.atomic():
        locked = lock_item(item.pk)
        live = Claim.objects.filter(item=locked, state=ClaimState.LIVE)
        if reviewer is not None:
            live = live.filter(reviewer=reviewer)
        released = live.update(state=ClaimState.RELEASED, slot=None)
        settle_item(locked)
    return released


def admit(queue: ReviewQueue, user: User) -> None:
    """Raises NotAdmitted for someone who may not judge in the queue."""
    if not queue.admits(user):
        raise NotAdmitted("This queue is for other people; ask its curator.")


# Asked with every save, as text: to put them together anew takes longer than they do.
_LOCK_ITEM = "SELECT * FROM review_queueitem WHERE id = %s AND queue_id = %s FOR NO KEY UPDATE"
_LOCK_CLAIM = "SELECT * FROM review_claim WHERE item_id = %s AND reviewer_id = %s FOR NO KEY UPDATE"


def lock_item(item_id: int, queue: ReviewQueue | None = None) -> QueueItem:
    """The item as it is, locked. Locks are taken in the order: questions, items, claims. `queue`: its own, if at hand."""
    if queue is not None:
        item = next(iter(QueueItem.objects.raw(_LOCK_ITEM, [item_id, queue.pk])), None)
        if item is None:
            raise QueueItem.DoesNotExist
        item.queue = queue
        return item
    return (
        QueueItem.objects.select_for_update(no_key=True, of=("self",))
        .select_related("queue__run__project")
        .get(pk=item_id)
    )


def own_claim(item: QueueItem, reviewer: User) -> Claim:
    claim = next(iter(Claim.objects.raw(_LOCK_CLAIM, [item.pk, reviewer.pk])), None)
    if claim is None:
        raise ItemLost(NOT_HELD)
    claim.item, claim.reviewer = item, reviewer
    return claim


def hold_place(item: QueueItem, claim: Claim) -> int:
    """The claim's slot; one that lapsed or was released takes a free one again. Raises ItemLost when none is left.

    Called with the item locked; the caller saves the claim and settles the item.
    """
    if claim.slot is None:
        claim.slot = _free_slot(item)
        if claim.slot is None:
            raise ItemLost("Someone else took this item while you were away. Your judgment was not saved.")
    return claim.slot


_SETTLE = """
UPDATE review_queueitem i SET taken = c.taken, done = c.done, free_at = c.free_at,
  open = NOT i.set_aside AND c.done < %(overlap)s
FROM (SELECT count(*) AS taken, count(*) FILTER (WHERE state = 'judged') AS done,
             min(expires_at) FILTER (WHERE state = 'live') AS free_at
      FROM review_claim WHERE item_id = %(item)s AND slot IS NOT NULL) c
WHERE i.id = %(item)s RETURNING i.taken, i.done, i.free_at, i.open"""


def settle_item(item: QueueItem) -> None:
    """Bring the item's counts in line with its claims; the item is locked."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, {"overlap": item.queue.overlap, "item": item.pk})
        item.taken, item.done, item.free_at, item.open = cursor.fetchone()


@dataclass(frozen=True, slots=True)
class Emptiness:
    """Why nothing comes. `until`: when something may come, where that is known."""

    code: str  # not_empty, paused, closed, no_items, all_done, set_aside, yours_done, claimed
    words: str
    until: datetime | None = None

    def __str__(self) -> str:
        return self.words


def why_empty(queue: ReviewQueue, reviewer: User) -> Emptiness:
    """In words for the person who gets nothing; reads, so it may differ from what the next claim finds."""
    if queue.state == QueueState.PAUSED:
        return Emptiness("paused", "This queue is paused by its curator.")
    if queue.state == QueueState.CLOSED:
        return Emptiness("closed", "This queue is closed: it takes no more judgments.")
    if not queue.size:
        return Emptiness("no_items", "This queue has no items.")
    wanting = QueueItem.objects.filter(queue=queue, open=True)
    if not wanting.exists():
        aside = QueueItem.objects.filter(queue=queue, set_aside=True).count()
        if aside == queue.size:
            return Emptiness("set_aside", "Every question of this queue was set aside.")
        tail = f" {aside:,} were set aside with their questions." if aside else ""
        return Emptiness("all_done", f"All {queue.size - aside:,} items of this queue are judged.{tail}")
    if _any_free(queue, reviewer):
        return Emptiness("not_empty", "There is something to judge; ask again.")
    found = _ways_out(queue, reviewer)
    left = found["others"]
    if left:
        until: datetime = found["until"]
        when = timezone.localtime(until).strftime("%H:%M")
        zone = timezone.get_current_timezone_name()
        are = "item is" if left == 1 else f"{left:,} items are"
        return Emptiness("claimed", f"The last {are} with other reviewers until {when} {zone} at the earliest.", until)
    return Emptiness(
        "yours_done", "You have judged or skipped everything you can here; what is left is for other reviewers."
    )


_MINE_TO_JUDGE = """
    AND EXISTS (SELECT 1 FROM reasoning_reasoningpath p WHERE p.id = i.path_id AND p.current)
    AND NOT EXISTS (SELECT 1 FROM review_claim c WHERE c.item_id = i.id AND c.reviewer_id = %(reviewer)s
                    AND (c.state IN ('judged', 'skipped')))
    AND NOT EXISTS (SELECT 1 FROM reasoning_verdict v WHERE v.path_id = i.path_id AND v.project_id = %(project)s
                    AND v.reviewer_id = %(reviewer)s AND v.current AND v.label <> 'unjudged')"""
_HELD = """(SELECT count(*) FROM review_claim c WHERE c.item_id = i.id AND c.slot IS NOT NULL
            AND (c.state = 'judged' OR c.expires_at > %(now)s)) >= """  # the queue's overlap
_ANY_FREE = f"""
SELECT 1 FROM review_queueitem i WHERE i.queue_id = %(queue)s AND i.open AND i.position > %(after)s
  AND (i.taken < %(overlap)s OR i.free_at <= %(now)s) AND NOT {_HELD} %(overlap)s {_MINE_TO_JUDGE}
ORDER BY i.position LIMIT 1"""  # noqa: S608
_WAYS_OUT = f"""
SELECT count(*) FILTER (WHERE held), min(until) FROM (
  SELECT {_HELD} %(overlap)s AS held,
         (SELECT min(c.expires_at) FROM review_claim c WHERE c.item_id = i.id AND c.slot IS NOT NULL AND c.state = 'live') AS until
  FROM review_queueitem i WHERE i.queue_id = %(queue)s AND i.open {_MINE_TO_JUDGE}
) open_items"""  # noqa: S608

_WITH_SOMETHING_FREE = f"""
SELECT q.id FROM review_reviewqueue q CROSS JOIN LATERAL (
  SELECT 1 FROM review_queueitem i WHERE i.queue_id = q.id AND i.open
    AND (i.taken < q.overlap OR i.free_at <= %(now)s) AND NOT {_HELD} q.overlap {_MINE_TO_JUDGE}
  ORDER BY i.position LIMIT 1) free
WHERE q.id = ANY(%(queues)s)"""  # noqa: S608


def free_in(queues: Sequence[ReviewQueue], reviewer: User) -> set[int]:
    """Which of these queues, all of one project, have an item that is free for the person; the id of each.

    One statement; in each queue it stops at the first item found. Says nothing of admission or a queue's state.
    """
    if not queues:
        return set()
    parameters = _parameters(queues[0], reviewer) | {"queues": [queue.pk for queue in queues]}
    with connection.cursor() as cursor:
        cursor.execute(_WITH_SOMETHING_FREE, parameters)
        return {queue for (queue,) in cursor.fetchall()}


def _any_free(queue: ReviewQueue, reviewer: User) -> bool:
    """Whether something is free for the person; stops at the first item found, from where they finished last."""
    parameters = _parameters(queue, reviewer)
    with connection.cursor() as cursor:
        for after in dict.fromkeys((_last_position(queue, reviewer), 0)):
            cursor.execute(_ANY_FREE, parameters | {"after": after})
            if cursor.fetchone():
                return True
    return False


def _ways_out(queue: ReviewQueue, reviewer: User) -> dict[str, Any]:
    """Reads every open item: asked once it is known that none is free for the person."""
    with connection.cursor() as cursor:
        cursor.execute(_WAYS_OUT, _parameters(queue, reviewer))
        others, until = cursor.fetchone()
    return {"others": others, "until": until}


_LAPSED = """
FROM review_claim c JOIN review_queueitem i ON i.id = c.item_id
WHERE i.queue_id = %(queue)s AND NOT i.set_aside AND c.reviewer_id = %(reviewer)s AND c.state = 'live' AND c.slot IS NULL"""
# One that is locked is being saved, released or set aside at this moment. Only rows with a place are locked: for the
# others their item comes first.
_HELD_BY = f"""
SELECT c.*, EXISTS (SELECT 1 {_LAPSED}) AS some_lapsed FROM review_claim c JOIN review_queueitem i ON i.id = c.item_id
WHERE i.queue_id = %(queue)s AND NOT i.set_aside AND c.reviewer_id = %(reviewer)s AND c.state = 'live' AND c.slot IS NOT NULL
ORDER BY c.claimed_at, i.position LIMIT %(most)s FOR NO KEY UPDATE OF c SKIP LOCKED"""  # noqa: S608


def _resume(queue: ReviewQueue, reviewer: User, most: int) -> list[Claim]:
    """Live claims of the person, the current one first, kept for another LEASE; one whose place is gone is dropped."""
    mine = {"queue": queue.pk, "reviewer": reviewer.pk, "most": most}
    found = list(Claim.objects.raw(_HELD_BY, mine))
    if not found or found[0].some_lapsed:  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT c.item_id {_LAPSED} ORDER BY 1", mine)
            lapsed = [item_id for (item_id,) in cursor.fetchall()]
        for item_id in lapsed:
            _take_again(lock_item(item_id, queue), reviewer)
        found = list(Claim.objects.raw(_HELD_BY, mine)) if lapsed else found
    until = timezone.now() + LEASE
    Claim.objects.filter(pk__in=[claim.pk for claim in found]).update(expires_at=until)
    for claim in found:
        claim.expires_at, claim.reviewer = until, reviewer
    return found


def _take_again(item: QueueItem, reviewer: User) -> None:
    """A free place for a claim that lost its own, else the end of the claim."""
    claim = own_claim(item, reviewer)
    if claim.state != ClaimState.LIVE or claim.slot is not None:
        return
    claim.slot, claim.expires_at = _free_slot(item), timezone.now() + LEASE
    claim.state = ClaimState.LIVE if claim.slot is not None else ClaimState.RELEASED
    claim.save(update_fields=["slot", "state", "expires_at"])
    settle_item(item)


def _candidate(
    queue: ReviewQueue, reviewer: User, passed: Sequence[int], lock: str, after: int = 0
) -> QueueItem | None:
    """The first item that seems to have a place for the person, locked."""
    parameters = _parameters(queue, reviewer) | {"passed": list(passed), "after": after}
    item = next(iter(QueueItem.objects.raw(_CANDIDATE + lock, parameters)), None)
    if item is not None:
        item.queue = queue
    return item


def _last_position(queue: ReviewQueue, reviewer: User) -> int:
    """Where the person finished last: the search goes on from there, and begins anew only when nothing is behind it."""
    finished = Claim.objects.filter(reviewer=reviewer, item__queue=queue, finished_at__isnull=False)
    return finished.order_by("-finished_at").values_list("item__position", flat=True).first() or 0


def _take(item: QueueItem, queue: ReviewQueue, reviewer: User) -> Claim | None:
    """A claim on the locked item; none when every place is held after all."""
    slot = _free_slot(item)
    claim = None
    if slot is not None:
        now = timezone.now()
        fields = {"state": ClaimState.LIVE, "slot": slot, "claimed_at": now, "expires_at": now + LEASE}
        mine = Claim.objects.filter(item=item, reviewer=reviewer)
        claim = mine.get() if mine.update(**fields) else Claim.objects.create(item=item, reviewer=reviewer, **fields)
        claim.item = item
    settle_item(item)
    return claim


def _free_slot(item: QueueItem) -> int | None:
    """The lowest place that nobody holds; live claims that expired lose theirs now that it is wanted."""
    claims = Claim.objects.filter(item=item)
    held = set(claims.filter(slot__isnull=False).values_list("slot", flat=True))
    if len(held) >= item.queue.overlap:
        claims.filter(state=ClaimState.LIVE, expires_at__lte=timezone.now()).update(slot=None)
        held = set(claims.filter(slot__isnull=False).values_list("slot", flat=True))
    return next((n for n in range(1, item.queue.overlap + 1) if n not in held), None)


def _parameters(queue: ReviewQueue, reviewer: User) -> dict[str, Any]:
    return {
        "queue": queue.pk,
        "overlap": queue.overlap,
        "project": queue.project_id,
        "reviewer": reviewer.pk,
        "now": timezone.now(),
    }
