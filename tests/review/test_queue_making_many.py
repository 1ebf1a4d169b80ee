"""What PostgreSQL knows of a queue's items the moment they are there."""

from __future__ import annotations

import pytest
from django.db import connection

from apps.review.models import QueueItem
from apps.review.queues import build
from tests.reasoning.test_ledger import make_true_run
from tests.review.queue_world import make_queue

pytestmark = pytest.mark.django_db


def test_many_items_at_once_are_told_to_the_planner(monkeypatch):
    run = make_true_run(3)
    make_queue(run, plan={"size": 9})
    few = rows_the_planner_knows()
    monkeypatch.setattr(build, "MANY", 9)
    make_queue(run, plan={"size": 9})

    assert few != 18
    assert rows_the_planner_knows() == QueueItem.objects.count() == 18


def rows_the_planner_knows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'review_queueitem'::regclass")
        return int(cursor.fetchone()[0])
