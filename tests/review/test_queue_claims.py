"""Claims: one place, one person; what is left open comes back; an empty queue says why."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.reasoning.models import ReasoningPath
from apps.review.models import Claim, ClaimState, QueueItem
from apps.review.queues import claims
from apps.review.queues.build import set_queue_state
from apps.review.queues.claims import claim_next, heartbeat, release_item, skip_item, why_empty
from apps.review.queues.errors import ItemLost, NotAdmitted, QueueError
from apps.review.queues.flags import flag_question
from tests.factories import make_user, make_verdict
from tests.review.queue_world import at_once, claim_one, clinicians, finish_all, item_of, judge, make_queue

pytestmark = pytest.mark.django_db


def expire(claim: Claim) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Claim.objects.filter(pk=claim.pk).update(expires_at=past)
    QueueItem.objects.filter(pk=claim.item_id).update(free_at=past)


def test_items_come_in_order_with_the_next_one_ready():
    queue, person = make_queue(), make_user()
    found = claim_next(queue=queue, reviewer=person, prefetch=1)
    assert [c.item.position for c in found] == [1, 2]
    judge(found[0])
    assert [c.item.position for c in claim_next(queue=queue, reviewer=person, prefetch=1)] == [2, 3]


def test_what_was_left_open_comes_back_on_any_machine():
    queue, person = make_queue(), make_user()
    first = claim_next(queue=queue, reviewer=person, prefetch=1)
    again = claim_next(queue=queue, reviewer=person, prefetch=1)
    assert [(c.pk, c.token) for c in again] == [(c.pk, c.token) for c in first]
    assert Claim.objects.count() == 2


def test_two_people_get_different_items_unless_the_queue_wants_both():
    alone, together = make_queue(overlap=1), make_queue(overlap=2)
    people = clinicians(3)
    assert [claim_one(alone, p).item.position for p in people] == [1, 2, 3]
    assert [claim_one(together, p).item.position for p in people] == [1, 1, 2]


def test_the_database_gives_a_place_to_one_person():
    queue = make_queue()
    claim = claim_one(queue, make_user())
    with pytest.raises(IntegrityError), transaction.atomic():
        Claim.objects.create(
            item=claim.item, reviewer=make_user(), slot=1, claimed_at=timezone.now(), expires_at=timezone.now()
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        Claim.objects.create(
            item=claim.item, reviewer=claim.reviewer, slot=2, claimed_at=timezone.now(), expires_at=timezone.now()
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        Claim.objects.filter(pk=claim.pk).update(state="judged", slot=None)


def test_an_expired_claim_gives_its_place_to_the_next_and_a_heartbeat_keeps_it():
    queue, (slow, quick) = make_queue(), clinicians(2)
    mine = claim_one(queue, slow)
    QueueItem.objects.filter(pk=mine.item_id).update(
        free_at=timezone.now() - timedelta(minutes=1)
    )  # a heartbeat outran it
    assert claim_one(queue, quick).item.position == 2
    assert QueueItem.objects.get(pk=mine.item_id).free_at == mine.expires_at
    expire(mine)
    assert heartbeat(queue=queue, reviewer=slow) == [mine.item_id]
    assert claim_one(queue, make_user()).item.position == 3
    expire(mine)
    assert claim_one(queue, make_user()).item_id == mine.item_id
    assert heartbeat(queue=queue, reviewer=slow) == []
    assert claim_one(queue, slow).item.position == 4


def test_a_person_never_gets_again_what_they_judged_skipped_or_said_elsewhere():
    queue, person = make_queue(questions=1, overlap=2), make_user()
    first = claim_one(queue, person)
    judge(first)
    second = claim_one(queue, person)
    skip_item(item=item_of(second), reviewer=person, reason="not_my_specialty")
    said = QueueItem.objects.get(queue=queue, position=3)
    make_verdict(said.path, label="error", reviewer=person)
    assert claim_one(queue, person).item.position == 4
    assert claim_one(queue, make_user()).item.position == 1


def test_skipping_frees_the_item_for_others_and_twice_is_once():
    queue, (one, other) = make_queue(), clinicians(2)
    claim = claim_one(queue, one)
    for _ in range(2):
        skip_item(item=item_of(claim), reviewer=one, reason="unsure", note="Not sure about the dose.")
    assert claim_one(queue, other).item_id == claim.item_id
    with pytest.raises(QueueError, match="why"):
        skip_item(item=item_of(claim), reviewer=other, reason="bored")
    with pytest.raises(ItemLost):
        skip_item(item=item_of(claim), reviewer=make_user(), reason="unsure")


def test_release_gives_items_to_others_and_leaves_judgments():
    queue, (one, other) = make_queue(), clinicians(2)
    claim = claim_one(queue, one)
    assert release_item(item=item_of(claim)) == 1
    assert claim_one(queue, other).item_id == claim.item_id
    judge(Claim.objects.get(item=claim.item_id, reviewer=other))
    assert release_item(item=item_of(claim)) == 0
    assert QueueItem.objects.get(pk=claim.item_id).done == 1
    assert claim_one(queue, one).item.position == 2


def test_a_path_that_was_replaced_is_not_handed_out():
    queue = make_queue()
    first = queue.items.get(position=1)
    ReasoningPath.objects.filter(pk=first.path_id).update(current=False)
    assert claim_one(queue, make_user()).item.position == 2


def test_only_those_it_is_for_get_items():
    queue = make_queue(role="adjudicator")
    with pytest.raises(NotAdmitted):
        claim_next(queue=queue, reviewer=make_user())
    assert claim_one(queue, make_user("adjudicator")).item.position == 1


def test_an_empty_queue_says_why():
    queue, (one, other) = make_queue(questions=1), clinicians(2)
    run = queue.run

    assert why_empty(queue, one).code == "not_empty"
    held = claim_next(queue=queue, reviewer=other, prefetch=8)
    assert claim_next(queue=queue, reviewer=one) == []
    found = why_empty(queue, one)
    when = timezone.localtime(min(c.expires_at for c in held)).strftime("%H:%M")
    assert (found.code, found.until) == ("claimed", held[0].expires_at)
    assert f"9 items are with other reviewers until {when}" in found.words

    skip_item(item=item_of(held[0]), reviewer=other, reason="other")
    for claim in held[1:]:
        judge(claim)
    assert why_empty(queue, other).code == "yours_done"
    assert finish_all(queue, one) == 1
    assert str(why_empty(queue, one)) == "All 9 items of this queue are judged."

    paused = make_queue(run)
    for state in ("paused", "closed"):
        set_queue_state(queue=paused, state=state)
        assert claim_next(queue=paused, reviewer=one) == []
        assert why_empty(paused, one).code == state

    aside = make_queue(run)
    item = aside.items.first()
    flag_question(question=item.question, project=run.project, reviewer=one, kind="key_wrong")
    assert why_empty(aside, one).code == "set_aside"


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_get_fifty_different_items():
    queue, people = make_queue(questions=6), clinicians(50)
    found = at_once([lambda p=p: claim_next(queue=queue, reviewer=p, prefetch=0) for p in people])
    assert [f for f in found if isinstance(f, Exception)] == []
    places = [f[0].item_id for f in found]
    assert len(set(places)) == 50
    assert set(Claim.objects.values_list("slot", flat=True)) == {1}
    assert set(QueueItem.objects.filter(pk__in=places).values_list("taken", flat=True)) == {1}


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_fill_the_places_of_overlapping_items_exactly():
    queue, people = make_queue(questions=2, overlap=3), clinicians(50)
    found = at_once([lambda p=p: claim_next(queue=queue, reviewer=p, prefetch=0) for p in people])
    assert [f for f in found if isinstance(f, Exception)] == []
    taken = Counter(f[0].item_id for f in found if f)
    assert max(taken.values()) == 3
    assert sum(taken.values()) == 50
    # 18 items × 3 places are 54: nobody went away empty although there was a place
    assert Claim.objects.filter(state=ClaimState.LIVE).count() == 50


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_same_item_goes_to_several(monkeypatch):
    """The control of the test above: find, then take. Everyone finds the same item; the database refuses the second."""
    queue, people = make_queue(questions=6), clinicians(12)
    looked, mine = threading.Barrier(12), threading.local()
    candidate = claims._candidate

    def look_then_wait(*args):
        item = candidate(*args)
        if not getattr(mine, "looked", False):  # who comes too late for it looks for another
            mine.looked = True
            looked.wait(60)
        return item

    monkeypatch.setattr(claims, "LOCK", "")
    monkeypatch.setattr(claims, "_candidate", look_then_wait)
    found = at_once([lambda p=p: claim_next(queue=queue, reviewer=p, prefetch=0) for p in people])
    refused = [f for f in found if isinstance(f, IntegrityError)]
    assert refused, "the race that the lock is there for"
    assert Claim.objects.count() == 12 - len(refused)


@pytest.mark.django_db(transaction=True)
def test_ten_windows_of_one_person_show_one_item():
    queue, person = make_queue(), make_user()
    found = at_once([lambda: claim_next(queue=queue, reviewer=person, prefetch=0) for _ in range(10)])
    assert {f[0].item.position for f in found} == {1}
    assert Claim.objects.count() == 1
