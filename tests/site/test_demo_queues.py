"""The demo's review queues."""

from __future__ import annotations

import pytest

from apps.review.models import ReviewQueue
from tests.factories import make_finished_run, make_user
from workers.demo.queues import QUEUES, ensure_queues

pytestmark = pytest.mark.django_db


def test_made_once_and_open_to_clinicians() -> None:
    run = make_finished_run(4, name="demo")
    assert [queue.name for queue in ensure_queues(run)] == list(QUEUES)
    assert ensure_queues(run) == []
    clinician = make_user("clinician")
    for queue in ReviewQueue.objects.all():
        assert queue.size
        assert queue.admits(clinician)
    assert list(ReviewQueue.objects.order_by("pk").values_list("counts", flat=True)) == [False, True]
