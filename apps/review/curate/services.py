"""Handing back what lies on screens that nobody looks at."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from apps.review.models import Claim, ClaimState, ReviewQueue
from apps.review.queues.claims import lock_item, settle_item

AT_ONCE = 200


def release_expired(*, queue: ReviewQueue) -> int:
    """Release claims whose time has passed, at most AT_ONCE; one that a heartbeat reaches meanwhile stays. How many."""
    now = timezone.now()
    expired = Claim.objects.filter(item__queue=queue, state=ClaimState.LIVE, expires_at__lte=now)
    released = 0
    for claim, item in list(expired.order_by("expires_at").values_list("pk", "item")[:AT_ONCE]):
        with transaction.atomic():
            locked = lock_item(item, queue)
            released += expired.filter(pk=claim).update(state=ClaimState.RELEASED, slot=None)
            settle_item(locked)
    return released
