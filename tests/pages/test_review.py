"""The review screen without script: judge, see, keep, revise, undo, pass on, flag; and what is refused."""

from __future__ import annotations

from uuid import uuid4

from django.test import Client
from django.urls import reverse

from apps.reasoning.models import Verdict, VerdictSource
from apps.review.models import Claim, Judgment, QuestionFlag, Skip
from apps.review.queues.claims import claim_next
from tests.factories import make_user
from tests.pages.conftest import World
from tests.review.queue_world import make_queue


def held(world: World) -> Claim:
    return claim_next(queue=make_queue(world.run), reviewer=world.clinician, prefetch=0)[0]


def form_of(claim: Claim, **more: object) -> dict[str, object]:
    given = {"token": claim.token, "version": claim.version, "idempotency_key": uuid4(), "label": "error"}
    return given | {"reasons": ["wrong_fact"], "sentences": ["1"]} | more


def test_blind_until_saved(world: World, signed_in: Client) -> None:
    claim = held(world)
    judged = Verdict.objects.filter(path=claim.item.path, source=VerdictSource.JUDGE)
    judged.update(reason="JUDGE-SAYS-SO")
    page = signed_in.get(reverse("review_work", args=(claim.item.queue_id,))).text
    path = claim.item.path
    assert "JUDGE-SAYS-SO" not in page
    assert f"temperature {path.temperature}" not in page
    assert 'class="hint effect' not in page  # what a verdict changes gives the judge's label away
    answer = signed_in.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim), follow=True).text
    assert "JUDGE-SAYS-SO" in answer
    assert f"temperature {path.temperature}" in answer


def test_the_same_request_again_is_saved_once(world: World, signed_in: Client) -> None:
    claim = held(world)
    form = form_of(claim)
    for _ in range(2):
        answer = signed_in.post(reverse("review_judge", args=(claim.item_id,)), form, headers={"X-Fragment": "1"})
        assert answer.status_code == 200
    assert Judgment.objects.filter(claim=claim).count() == 1


def test_what_is_not_valid_comes_back_as_it_was(world: World, signed_in: Client) -> None:
    claim = held(world)
    form = form_of(claim, reasons=[], comment="", harm="mild")
    answer = signed_in.post(reverse("review_judge", args=(claim.item_id,)), form)
    assert answer.status_code == 422
    assert "Say what is wrong" in answer.text
    assert 'value="mild" selected' in answer.text
    assert not Judgment.objects.exists()


def test_two_windows_show_both_sides(world: World, signed_in: Client) -> None:
    claim = held(world)
    address = reverse("review_judge", args=(claim.item_id,))
    signed_in.post(address, form_of(claim, comment="Said first."))
    answer = signed_in.post(address, form_of(claim, comment="Said second."))
    assert answer.status_code == 409
    assert "Said first." in answer.text
    assert "Said second." in answer.text
    assert 'name="version" value="1"' in answer.text


def test_keep_revise_undo(world: World, signed_in: Client) -> None:
    claim = held(world)
    item = claim.item_id
    signed_in.post(reverse("review_judge", args=(item,)), form_of(claim))
    assert signed_in.post(reverse("review_keep", args=(item,))).status_code == 302
    claim.refresh_from_db()
    assert claim.kept_at
    assert 'value="error" required checked' in signed_in.get(reverse("review_item", args=(item,)) + "?revise=1").text
    signed_in.post(reverse("review_judge", args=(item,)), form_of(claim, label="correct", reasons=[], sentences=[]))
    signed_in.post(reverse("review_undo", args=(item,)), {"idempotency_key": uuid4()})
    phases = list(Judgment.objects.filter(claim=claim).order_by("round").values_list("phase", flat=True))
    assert phases == ["first", "revised", "undone"]


def test_keys_that_are_none_are_refused(world: World, signed_in: Client) -> None:
    claim = held(world)
    for name, args in (
        ("review_undo", claim.item_id),
        ("review_undo_last", claim.item.queue_id),
        ("review_flag", claim.item_id),
    ):
        form = {"idempotency_key": "none", "kind": "key_wrong"}
        assert signed_in.post(reverse(name, args=(args,)), form).status_code == 409, name
    assert not QuestionFlag.objects.exists()


def test_passed_on_and_set_aside(world: World, signed_in: Client) -> None:
    claim = held(world)
    signed_in.post(reverse("review_skip", args=(claim.item_id,)), {"reason": "not_my_specialty"})
    assert Skip.objects.get().reason == "not_my_specialty"
    other = claim_next(queue=claim.item.queue, reviewer=world.clinician, prefetch=0)[0]
    form = {"kind": "key_wrong", "idempotency_key": uuid4()}
    signed_in.post(reverse("review_flag", args=(other.item_id,)), form)
    other.item.refresh_from_db()
    assert other.item.set_aside


def test_an_item_of_another_person_is_not_there(world: World, client: Client) -> None:
    claim = held(world)
    client.force_login(make_user("clinician"))
    assert client.get(reverse("review_item", args=(claim.item_id,))).status_code == 404
    assert client.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim)).status_code == 409


def test_ten_make_a_sitting(world: World, signed_in: Client) -> None:
    queue = make_queue(world.run)
    for n in range(10):
        claim = claim_next(queue=queue, reviewer=world.clinician, prefetch=0)[0]
        signed_in.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim))
        answer = signed_in.post(reverse("review_keep", args=(claim.item_id,)))
        assert answer.url == (reverse("review_sitting") if n == 9 else reverse("review_work", args=(queue.pk,)))  # type: ignore[attr-defined]
    assert "Ten done" in signed_in.get(reverse("review_sitting")).text
