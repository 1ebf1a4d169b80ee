"""Where a sitting begins: one primary button, what each queue is to the person, a bounded number of statements."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.questions.access import ADJUDICATOR
from apps.review.models import Claim, ReviewSettings
from apps.review.models_records import Comment, Mention
from apps.review.queues.claims import claim_next
from apps.review.screen.home import rows_of
from tests.factories import make_user
from tests.pages.conftest import World
from tests.review.queue_world import ERROR, finish_all, judge, make_queue

HOME = "review_home"


def practised(world: World) -> None:
    ReviewSettings.objects.create(user=world.clinician, practised_at=timezone.now())


def primary(page: str) -> list[str]:
    return re.findall(r'class="btn btn--primary"[^>]*>([^<]*)<', page)


def test_first_practice_then_the_queue(world: World, signed_in: Client) -> None:
    make_queue(world.run)
    page = signed_in.get(reverse(HOME)).text
    assert primary(page) == ["Three practice items, 4 minutes"]
    assert "Skip practice" in page
    signed_in.post(reverse("practice_skip"))
    page = signed_in.get(reverse(HOME)).text
    assert primary(page) == ["Review 10 questions, about 15 minutes"]
    assert f'href="{reverse("practice")}">Practice items' in page


def test_without_queues(world: World, signed_in: Client, client: Client) -> None:
    practised(world)
    page = signed_in.get(reverse(HOME)).text
    assert "No queue for you yet" in page
    assert primary(page) == []
    client.force_login(world.curator)
    assert "Make one from a finished run" in client.get(reverse(HOME)).text


def test_goes_on_where_one_was(world: World, signed_in: Client) -> None:
    queue = make_queue(world.run)
    make_queue(world.run)  # newer: it would come first
    judge(claim_next(queue=queue, reviewer=world.clinician)[0])
    page = signed_in.get(reverse(HOME)).text
    assert primary(page) == ["Go on: 9 questions left in this sitting"]
    assert f'href="{reverse("review_work", args=(queue.pk,))}">Go on' in page
    assert signed_in.post(reverse("review_start")).url == reverse("review_work", args=(queue.pk,))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_each_queue_is_to_a_person(world: World) -> None:
    person = world.clinician
    done = make_queue(world.run, overlap=2)
    finish_all(done, make_user())
    assert rows_of([done], person)[0].state == "free"
    finish_all(done, person)
    states = {
        "done": done,
        "paused": make_queue(world.run),
        "closed": make_queue(world.run),
        "others": make_queue(world.run, role=ADJUDICATOR),
    }
    for state in ("paused", "closed"):
        states[state].state = state
        states[state].save()
    named = make_queue(world.run, role="", reviewers=[make_user()])
    found = rows_of([*states.values(), named], person)
    assert [row.state for row in found] == [*states, "others"]


def test_what_others_hold_is_not_free(world: World) -> None:
    queue = make_queue(world.run, plan={"kind": "paths", "paths": [world.path.pk]})
    person = world.clinician
    claim = claim_next(queue=queue, reviewer=make_user())[0]
    assert rows_of([queue], person)[0].state == "nothing"
    type(claim).objects.filter(pk=claim.pk).update(expires_at=timezone.now())
    type(claim.item).objects.filter(pk=claim.item_id).update(free_at=timezone.now())
    assert rows_of([queue], person)[0].state == "free"


def test_nothing_waits(world: World, signed_in: Client) -> None:
    practised(world)
    queue = make_queue(world.run, plan={"kind": "paths", "paths": [world.path.pk]})
    claim_next(queue=queue, reviewer=make_user())
    page = signed_in.get(reverse(HOME)).text
    assert "Nothing waits for you now" in page
    assert primary(page) == []


def test_ones_own_figures_and_mentions(world: World, signed_in: Client) -> None:
    queue = make_queue(world.run)
    claim = claim_next(queue=queue, reviewer=world.clinician)[0]
    Claim.objects.filter(pk=claim.pk).update(claimed_at=timezone.now() - timedelta(minutes=3))
    judge(claim, replace(ERROR, active_ms=120_000))
    judge(claim_next(queue=queue, reviewer=make_user())[0])
    said = Comment.objects.create(
        project=world.run.project, question=world.row.question, run=world.run, author=world.curator, text="Look?"
    )
    Mention.objects.create(comment=said, user=world.clinician)
    page = signed_in.get(reverse(HOME)).text
    assert "<dt>Judged in all</dt><dd>1</dd>" in page
    assert "30 <span" in page  # one in two minutes, an hour
    assert f'<a href="{reverse("mentions")}">1 mention of you</a>' in page


def test_statements_do_not_grow_with_queues(
    world: World, signed_in: Client, django_assert_max_num_queries: object
) -> None:
    practised(world)

    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            signed_in.get(reverse(HOME))
        return len(queries)

    for _ in range(2):
        make_queue(world.run)
    two = statements()
    for _ in range(10):
        make_queue(world.run)
    assert statements() == two
    with django_assert_max_num_queries(24):  # type: ignore[operator]
        signed_in.get(reverse(HOME))


@pytest.mark.slow
def test_starting_asks_of_all_queues_at_once(world: World, signed_in: Client) -> None:
    for _ in range(3):
        finish_all(make_queue(world.run), make_user())
    assert signed_in.post(reverse("review_start")).url == reverse(HOME)  # type: ignore[attr-defined]
