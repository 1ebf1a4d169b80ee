"""A sitting is the last lot of ten, however many were judged before it without a pause."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from apps.review.models import Claim
from apps.review.screen import sitting
from tests.factories import make_user
from tests.review.queue_world import claim_one, judge, make_queue

pytestmark = pytest.mark.django_db


def test_lots_of_ten_go_on_over_more_claims_than_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "READ", 4)
    queue, person = make_queue(), make_user()
    seen = []
    for _ in range(9):
        judge(claim_one(queue, person))
        seen.append(sitting.current_sitting(queue.project, person).done)
    assert seen == list(range(1, 10))
    monkeypatch.setattr(sitting, "LENGTH", 3)
    assert sitting.current_sitting(queue.project, person).over
    latest = Claim.objects.order_by("-finished_at").values_list("pk", flat=True)[:3]
    now = sitting.current_sitting(queue.project, person)
    assert [pk for pk, _ in now.finished] == [*reversed(latest)]
    assert [claim.pk for claim in now.judged] == [*reversed(latest)]


def test_a_pause_begins_a_new_sitting() -> None:
    queue, person = make_queue(), make_user()
    for _ in range(3):
        judge(claim_one(queue, person))
    earlier = Claim.objects.order_by("finished_at").values_list("pk", flat=True)[:2]
    Claim.objects.filter(pk__in=list(earlier)).update(finished_at=F("finished_at") - timedelta(hours=2))
    assert sitting.current_sitting(queue.project, person).done == 1
