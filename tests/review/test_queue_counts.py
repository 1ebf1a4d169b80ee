"""The counts of a queue, kept by the database, are what counting its items gives; whether anything is left is seen early."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from apps.review.models import QueueItem, ReviewQueue
from apps.review.queues.claims import why_empty
from apps.review.queues.flags import flag_question, resolve_flag
from apps.review.queues.judging import undo_last
from apps.review.queues.selectors import tallies_of
from tests.factories import make_user
from tests.review.queue_world import claim_one, clinicians, judge, make_queue

pytestmark = pytest.mark.django_db


def counted(queue: ReviewQueue) -> tuple[int, int, int]:
    """(judgments, finished, set aside) by reading every item."""
    items = QueueItem.objects.filter(queue=queue)
    return (
        items.aggregate(n=Sum("done"))["n"],
        items.filter(open=False, set_aside=False).count(),
        items.filter(set_aside=True).count(),
    )


def told(queue: ReviewQueue) -> tuple[int, int, int]:
    tally = tallies_of([queue])[queue.pk]
    return tally.judgments, tally.finished, tally.set_aside


def test_counts_follow_judgments_undos_and_flags():
    queue, (one, other), adjudicator = make_queue(overlap=2), clinicians(2), make_user("adjudicator")
    seen = [told(queue)]
    for person in (one, other):
        judge(claim_one(queue, person))
        seen.append(told(queue))
    undo_last(queue_id=queue.pk, reviewer=other, idempotency_key=uuid4())
    seen.append(told(queue))
    assert seen == [(0, 0, 0), (1, 0, 0), (2, 1, 0), (1, 0, 0)]
    item = QueueItem.objects.filter(queue=queue)[3]
    flag = flag_question(question=item.question, project=queue.project, reviewer=one, kind="key_wrong")
    assert told(queue) == counted(queue)
    assert told(queue)[2] > 0
    resolve_flag(flag=flag, by=adjudicator, uphold=False, why="It is sound.")
    assert told(queue) == counted(queue) == (1, 0, 0)


def test_deleted_items_are_no_longer_counted():
    queue = make_queue()
    judge(claim_one(queue, make_user()))
    QueueItem.objects.filter(queue=queue, open=True).order_by("-position")[0].delete()
    assert told(queue) == counted(queue)


def test_tallies_of_many_queues_cost_one_statement():
    queues = [make_queue(), make_queue(overlap=2)]
    with CaptureQueriesContext(connection) as seen:
        found = tallies_of(queues)
    assert len(seen) == 1
    assert [found[q.pk].wanted for q in queues] == [q.size * q.overlap for q in queues]


def test_a_queue_with_something_left_is_not_read_to_its_end():
    queue, person = make_queue(), make_user()
    with CaptureQueriesContext(connection) as seen:
        assert why_empty(queue, person).code == "not_empty"
    assert not [q["sql"] for q in seen if "count(*) FILTER" in q["sql"]]
    assert any("LIMIT 1" in q["sql"] and "position" in q["sql"] for q in seen)
