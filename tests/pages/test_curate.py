"""The curator's pages: making queues, watching them, handing items back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.questions.models import Project
from apps.reasoning.models import ReasoningPath
from apps.review.models import Claim, ClaimState, QueueItem, QueueState, ReviewQueue
from apps.review.queues.build import Gold, build_queue
from apps.review.queues.claims import claim_next
from apps.review.queues.flags import flag_question
from apps.review.queues.said import Said
from tests.factories import make_project, make_user
from tests.pages.conftest import World
from tests.review.queue_world import ERROR, claim_one, finish_all, judge, make_queue

NEW = "/review/queues/new/"


@pytest.fixture
def curator(world: World, client: Client) -> Client:
    client.force_login(world.curator)
    return client


def form(world: World, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "run": world.run.name, "name": "calibration", "kind": "random", "size": 10, "seed": 7, "allocation": "equal",
        "sensitivity": 0.9, "specificity": 0.95, "gold_percent": 0, "overlap": 1, "view": "blind", "effect": "counts",
        "role": "clinician",
    }  # fmt: skip
    return given | more


def test_a_clinician_works_what_a_curator_made(world: World, curator: Client) -> None:
    answer = curator.post(NEW, form(world, overlap=2, effect="measures"))
    queue = ReviewQueue.objects.get(name="calibration")
    assert answer.url == reverse("review_queue", args=(queue.pk,))  # type: ignore[attr-defined]
    assert (queue.size, queue.overlap, queue.blind, queue.counts, queue.role) == (10, 2, True, False, "clinician")
    assert queue.created_by == world.curator
    judge(claim_one(queue, world.clinician))
    page = curator.get(reverse("review_queue", args=(queue.pk,))).text
    assert '1 <span class="unit">of 20</span>' in page
    assert "10 paths drawn at random. Seed 7." in page


def test_what_belongs_to_another_kind_is_ignored(world: World, curator: Client) -> None:
    said = form(world, kind="contradictions", by=["tier"], whole_questions="on", paths="5", tiers=["difficult"])
    curator.get(NEW, said)
    curator.post(NEW, said | {"kind": "stratified", "by": ["tier", "label"], "whole_questions": "", "tiers": []})
    plan = ReviewQueue.objects.get().plan
    assert (plan["by"], plan["paths"], plan["filter"]["tiers"]) == (["tier", "label"], [], [])


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"name": ""}, "name", "Give the queue a name."),
        ({"run": "nothing"}, "run", "Choose one of the runs listed."),
        ({"size": 0}, "size", "greater than or equal to 1"),
        ({"size": 20_001}, "size", "make_queue makes larger"),
        ({"size": 2_001, "whole_questions": "on"}, "size", "At most 2,000 whole questions"),
        ({"kind": "stratified"}, "by", "Name what to stratify by"),
        ({"kind": "stratified", "by": ["label"], "whole_questions": "on"}, "by", "Label differs within a question"),
        ({"kind": "stratified", "by": ["tier"], "size": 1}, "size", "strata need at least"),
        ({"kind": "paths", "paths": "one"}, "paths", "Give the ids of paths"),
        ({"kind": "paths", "paths": ""}, "paths", "List the ids"),
        ({"kind": "paths", "paths": "999999999"}, "paths", "999999999 is no current path"),
        ({"kind": "tier_flip", "labels": ["error"]}, "labels", "weighs all paths"),
        ({"sensitivity": 0.4, "specificity": 0.4}, "specificity", "no better than chance"),
        ({"gold_percent": 20}, "gold_percent", "Nothing is settled yet"),
        ({"effect": "practice"}, "effect", "Nothing is settled with a reason yet"),
        ({"role": ""}, "role", "Say who may work in it"),
        ({"errors_among": "4, x"}, "errors_among", "Give numbers"),
        ({"errors_among": "99"}, "errors_among", "less than or equal to 30"),
        ({"benchmarks": ["none"]}, "benchmarks", "not one of the available choices"),
        ({"errors_among": "1"}, "kind", "No path fits this plan"),
    ],
)
def test_what_is_wrong_stands_with_its_field(
    world: World, curator: Client, more: dict[str, Any], field: str, said: str
) -> None:
    answer = curator.post(NEW, form(world, **more))
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert said in answer.context["form"].errors[field][0]
    assert f'href="#id_{field}"' in answer.text
    assert f'id="id_{field}"' in answer.text
    assert not ReviewQueue.objects.exists()


def test_a_choice_just_begun_is_no_mistake(world: World, curator: Client) -> None:
    said = form(world, kind="stratified")
    begun = curator.get(NEW, said, headers={"HX-Request": "true"}).text
    assert "Choose what to stratify by" in begun
    assert "field-error" not in begun
    wrong = curator.get(NEW, said | {"size": 0}, headers={"HX-Request": "true"}).text
    assert "field-error" in wrong
    assert "greater than or equal to 1" in wrong


def test_a_second_click_makes_no_second_queue(world: World, curator: Client) -> None:
    curator.post(NEW, form(world))
    answer = curator.post(NEW, form(world))
    assert answer.status_code == 422
    assert "If you pressed the button twice, it is made" in answer.text
    assert ReviewQueue.objects.count() == 1


def test_a_second_click_at_the_same_moment_is_told_too(
    world: World, curator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the names and the insert of this request, the other one's queue was committed."""

    def make_first(**fields: Any) -> ReviewQueue:
        theirs = build_queue(**fields)
        with transaction.atomic():
            return ReviewQueue.objects.create(project=theirs.project, run=theirs.run, name=theirs.name, plan={})

    monkeypatch.setattr("apps.review.curate.views.build_queue", make_first)
    answer = curator.post(NEW, form(world))
    assert answer.status_code == 422
    assert "was made this moment" in answer.context["form"].errors["name"][0]


def test_a_preview_tells_and_writes_nothing(world: World, curator: Client) -> None:
    said = form(world, name="", kind="stratified", by=["tier"], size=3, whole_questions="on", overlap=2)
    answer = curator.get(NEW, said, headers={"HX-Request": "true"})
    found = answer.context["preview"].forecast
    assert (found.preview.size, found.judgments, found.seconds) == (27, 54, 54 * 90)
    assert [(s.name, s.units) for s in found.preview.strata] == [("easy", 2), ("medium", 1)]
    assert [w.name for w in found.widths] == ["Sensitivity", "Specificity"]
    assert all(0 < w.points < 50 for w in found.widths)
    assert "<h1" not in answer.text
    assert "so it will be wider" in answer.text
    chosen = curator.get(NEW, form(world, kind="tier_flip"), headers={"HX-Request": "true"})
    assert chosen.context["preview"].forecast.widths == ()
    assert "not drawn at random" in chosen.text
    assert not ReviewQueue.objects.exists()
    assert not QueueItem.objects.exists()


def test_only_the_people_named(world: World, curator: Client) -> None:
    other = make_user("clinician")
    curator.post(NEW, form(world, role="", reviewers=[world.clinician.username]))
    queue = ReviewQueue.objects.get()
    assert queue.admits(world.clinician)
    assert not queue.admits(other)
    stranger = make_user("clinician", member_of=make_project("elsewhere"))
    assert curator.post(NEW, form(world, name="b", reviewers=[stranger.username])).status_code == 422


def test_practice_is_of_settled_paths_with_a_reason(world: World, curator: Client) -> None:
    first = make_queue(world.run, overlap=2)
    for person in (make_user("clinician"), make_user("clinician")):
        judge(claim_one(first, person), Said(label="error", reasons=("wrong_fact",), comment="Potassium is low."))
    answer = curator.get(NEW, form(world, effect="practice"), headers={"HX-Request": "true"})
    assert answer.context["preview"].practice == 1
    curator.post(NEW, form(world, effect="practice"))
    queue = ReviewQueue.objects.get(name="calibration")
    assert (queue.practice, queue.counts, queue.feedback, queue.size) == (True, False, True, 1)
    assert "practice" in curator.get(reverse("review_queue", args=(queue.pk,))).text


def set_state(client: Client, queue: ReviewQueue, state: str) -> None:
    client.post(reverse("review_queue_state", args=(queue.pk,)), {"state": state})


def test_pause_reopen_close(world: World, curator: Client) -> None:
    queue = make_queue(world.run)
    held = claim_one(queue, world.clinician)
    set_state(curator, queue, "paused")
    queue.refresh_from_db()
    assert claim_next(queue=queue, reviewer=make_user("clinician")) == []
    judge(held)  # what is on a screen may still be saved
    set_state(curator, queue, "open")
    queue.refresh_from_db()
    assert claim_next(queue=queue, reviewer=world.clinician)
    asked = curator.get(reverse("review_queue_close", args=(queue.pk,))).text
    assert "1 person has an item on the screen" in " ".join(asked.replace("<b>", "").split())
    queue.refresh_from_db()
    assert queue.state == QueueState.OPEN
    set_state(curator, queue, "closed")
    set_state(curator, queue, "gone")
    queue.refresh_from_db()
    assert queue.state == QueueState.CLOSED


def test_a_released_item_goes_to_the_next_and_a_late_save_is_told(world: World, curator: Client) -> None:
    queue = make_queue(world.run)
    held = claim_one(queue, world.clinician)
    curator.post(reverse("review_queue_release", args=(queue.pk,)), {"claim": held.pk})
    held.refresh_from_db()
    assert held.state == ClaimState.RELEASED
    assert claim_one(queue, make_user("clinician")).item_id == held.item_id
    late = {"token": held.token, "version": 0, "idempotency_key": uuid4(), "label": "correct"}
    late_client = Client()
    late_client.force_login(world.clinician)
    assert late_client.post(reverse("review_judge", args=(held.item_id,)), late).status_code == 409


def test_all_that_lapsed_are_released_at_once_and_no_other(world: World, curator: Client) -> None:
    queue, other = make_queue(world.run), make_queue(world.run)
    claims = [claim_one(queue, make_user("clinician")) for _ in range(3)]
    claims.append(claim_one(other, world.clinician))
    lapsed = [claims[0].pk, claims[1].pk, claims[3].pk]
    Claim.objects.filter(pk__in=lapsed).update(expires_at=timezone.now() - timedelta(minutes=1))
    address = reverse("review_queue_release", args=(queue.pk,))
    assert "2 items went back" in curator.post(address, {"expired": "1"}, follow=True).text
    assert list(Claim.objects.order_by("pk").values_list("state", flat=True)) == [
        "released",
        "released",
        "live",
        "live",
    ]
    assert QueueItem.objects.filter(queue=queue, taken=1).count() == 1
    assert "Nothing was released" in curator.post(address, {"claim": claims[3].pk}, follow=True).text


def test_what_needs_a_look_is_listed(world: World, curator: Client) -> None:
    queue = make_queue(world.run)
    said = Said(label="error", reasons=("wrong_fact",), comment="<b>Odd dose</b>", flagged=True)
    judge(claim_one(queue, world.clinician), said)
    judge(claim_one(queue, world.clinician))
    aside = claim_one(queue, world.clinician)
    flag_question(
        question=aside.item.question, project=queue.project, reviewer=world.clinician, kind="key_wrong", item=aside.item
    )
    page = curator.get(reverse("review_queue", args=(queue.pk,)))
    assert "&lt;b&gt;Odd dose&lt;/b&gt;" in page.text
    assert len(page.context["flagged"]) == 1
    assert "The key is wrong" in page.text
    assert page.context["now"].set_aside == 9


def test_time_and_gold_are_told_of_five_people_only(world: World, curator: Client) -> None:
    paths = ReasoningPath.objects.filter(run=world.run, origin="generated").order_by("pk")
    queue = make_queue(world.run, practice=True, gold=[Gold(paths[0].pk, "error", "Potassium.")])
    address = reverse("review_queue", args=(queue.pk,))
    for _ in range(4):
        finish_all(queue, make_user("clinician"), ERROR)
    four = curator.get(address)
    assert (four.context["gold"], four.context["now"].active_ms) == (None, None)
    finish_all(queue, make_user("clinician"))
    five = curator.get(address)
    assert (five.context["gold"].agreed, five.context["gold"].judged) == (4, 5)
    assert "80.0 %" in five.text


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def test_no_page_asks_more_for_more_rows(world: World, curator: Client) -> None:
    listed, plan = reverse("review_queues"), NEW
    queue = make_queue(world.run)
    detail = reverse("review_queue", args=(queue.pk,))
    curator.get(listed)
    curator.get(detail)  # a queue's strata never change: they are kept from then on
    before = (queries(curator, listed), queries(curator, detail), queries(curator, plan))
    for _ in range(4):
        make_queue(world.run, reviewers=[world.clinician])
        judge(
            claim_one(queue, make_user("clinician")), Said(label="error", reasons=("other",), comment="?", flagged=True)
        )
        claim_one(queue, make_user("clinician"))
    after = (queries(curator, listed), queries(curator, detail), queries(curator, plan))
    assert after == before
    assert before[0] <= 9
    assert before[1] <= 20


def test_pages_of_queues(world: World, curator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.review.curate.views.ON_PAGE", 2)
    made = [make_queue(world.run) for _ in range(3)]
    page = curator.get(reverse("review_queues"))
    assert [row.queue.pk for row in page.context["rows"]] == [made[2].pk, made[1].pk]
    older = curator.get(reverse("review_queues") + f"?before={page.context['more']}")
    assert [row.queue.pk for row in older.context["rows"]] == [made[0].pk]


def test_curators_find_it_and_others_do_not_see_it(world: World, client: Client) -> None:
    home, run = reverse("review_home"), reverse("run", args=(world.run.pk,))
    client.force_login(world.curator)
    assert NEW in client.get(home).text
    assert f'href="{NEW}?run=four"' in client.get(run).text
    assert '<option value="four" selected' in client.get(NEW + "?run=four").text
    client.force_login(world.clinician)
    assert NEW not in client.get(home).text
    assert NEW not in client.get(run).text


def test_without_a_run_there_is_nothing_to_plan(client: Client, db: None) -> None:
    client.force_login(make_user("curator"))
    assert Project.objects.exists()
    assert "No run to judge" in client.get(NEW).text
    assert "No queue yet" in client.get(reverse("review_queues")).text
