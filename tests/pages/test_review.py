"""The review screen without script: judge, see, keep, revise, undo, pass on, flag; and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.questions.models import Question
from apps.reasoning.models import ReasoningPath, Verdict, VerdictSource
from apps.reasoning.sentences import split_sentences
from apps.review.models import Claim, Judgment, QuestionFlag, QueueItem, ReviewSettings, Skip
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
    form = {"kind": "key_wrong", "note": "Guidelines of 2024 say B.", "idempotency_key": uuid4()}
    assert 'name="note"' in signed_in.get(reverse("review_item", args=(other.item_id,))).text
    signed_in.post(reverse("review_flag", args=(other.item_id,)), form)
    assert QuestionFlag.objects.get().note == "Guidelines of 2024 say B."
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


def test_settings_hold_on_any_machine(world: World, signed_in: Client, client: Client) -> None:
    address = reverse("review_work", args=(make_queue(world.run).pk,))
    page = signed_in.get(address).text
    assert 'id="unit-conventional" checked' in page
    assert 'id="keys-on" checked' in page
    for sent in ({"units": "si"}, {"keys": "off", "size": "l"}):
        answer = signed_in.post(reverse("review_settings"), sent, headers={"X-Fragment": "1"})
        assert answer.status_code == 204
    elsewhere = Client()
    elsewhere.force_login(world.clinician)
    page = elsewhere.get(address).text
    assert 'id="unit-si" checked' in page
    assert 'id="size-l" checked' in page
    assert 'id="keys-on" checked' not in page


def test_settings_refuse_what_they_do_not_know(world: World, signed_in: Client) -> None:
    sent = {"units": "si", "size": "enormous"}
    assert signed_in.post(reverse("review_settings"), sent).status_code == 422
    assert not ReviewSettings.objects.exists()


def test_settings_go_back_to_a_page_of_ours_alone(world: World, signed_in: Client) -> None:
    for came_from, back in (("http://testserver/review/sitting/", "http://testserver/review/sitting/"), ("https://elsewhere.example/", reverse("review_home"))):  # fmt: skip
        answer = signed_in.post(reverse("review_settings"), {"units": "si"}, headers={"Referer": came_from})
        assert answer["Location"] == back


def test_beside_the_path(world: World, signed_in: Client) -> None:
    """Tables kept, values in the other units, PubMedQA's abstract, the explanation, ranges and a literature search."""
    claim = held(world)
    Question.objects.filter(pk=claim.item.question_id).update(
        stem="She is drowsy. Laboratory studies show:\nNa+ 139 mEq/L\nGlucose 589 mg/dL\nWhich of the following is next?",
        contexts=[{"label": "METHODS", "text": "A cohort with creatinine of 4.2 mg/dL."}],
        explanation="Insulin drives potassium into cells.",
    )
    page = signed_in.get(reverse("review_work", args=(claim.item.queue_id,))).text
    assert '<th scope="row">Glucose</th><td>589 mg/dL<span class="other other--si"> (32.7 mmol/L)</span></td>' in page
    assert "Methods" in page
    assert "(371 µmol/L)" in page
    assert "Insulin drives potassium into cells." in page
    assert "0.6–1.2 mg/dL" in page
    assert 'href="https://pubmed.ncbi.nlm.nih.gov/?term=Replace+potassium" target="_blank" rel="noopener noreferrer"' in page  # fmt: skip


def test_after_saving_both_kinds_of_marks(world: World, signed_in: Client) -> None:
    claim = held(world)
    cited = split_sentences(claim.item.path.text)[1].text
    Verdict.objects.filter(path=claim.item.path, source=VerdictSource.JUDGE).update(reason=f'It says "{cited}".')
    page = signed_in.get(reverse("review_work", args=(claim.item.queue_id,))).text
    assert "Judge cites" not in page
    answer = signed_in.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim), follow=True).text
    assert 'class="sent sent--plain sent--cited" id="s2"' in answer
    assert 'class="sent sent--plain sent--you" id="s1"' in answer
    assert answer.count("Judge cites") == 1
    assert answer.count("You: wrong") == 1


def change_shown(page: str) -> bool:
    return 'data-effect="correct"' in page


def test_consequences_before_saving(world: World, signed_in: Client) -> None:
    """In an open queue from the start, in a blind one with the revision; never in one that only measures."""
    shown = {}
    for name, blind, counts in (("open", False, True), ("blind", True, True), ("measures", False, False)):
        queue = make_queue(world.run, blind=blind, counts=counts)
        claim = claim_next(queue=queue, reviewer=world.clinician, prefetch=0)[0]
        before = signed_in.get(reverse("review_item", args=(claim.item_id,))).text
        signed_in.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim))
        revised = signed_in.get(reverse("review_item", args=(claim.item_id,)) + "?revise=1").text
        shown[name] = (change_shown(before), change_shown(revised))
    assert shown == {"open": (True, True), "blind": (False, True), "measures": (False, False)}


def test_what_is_shown_before_saving_is_what_happens(world: World, signed_in: Client) -> None:
    claim = claim_next(queue=make_queue(world.run, blind=False), reviewer=world.clinician, prefetch=0)[0]
    page = signed_in.get(reverse("review_item", args=(claim.item_id,))).text
    after = signed_in.post(reverse("review_judge", args=(claim.item_id,)), form_of(claim), follow=True).text
    summary = Judgment.objects.get().verdict.details["consequences"]["summary"]
    assert f"<b>If you save:</b> {summary}" in page
    assert f"<p>{summary}</p>" in after


@pytest.mark.parametrize("blind", [True, False])
def test_gold_cannot_be_told_from_other_items(world: World, signed_in: Client, blind: bool) -> None:
    """Before saving, after it, on loading again and when revising, gold looks as the same item would without being gold."""
    told = []
    for gold in ("", "correct"):
        with transaction.atomic():
            claim = claim_next(queue=make_queue(world.run, blind=blind), reviewer=world.clinician, prefetch=0)[0]
            QueueItem.objects.filter(pk=claim.item_id).update(gold_label=gold, gold_reason="SECRET")
            address = reverse("review_item", args=(claim.item_id,))
            pages = [signed_in.get(address).text]
            post = signed_in.post(
                reverse("review_judge", args=(claim.item_id,)), form_of(claim), headers={"X-Fragment": "1"}
            )
            pages += [post.text, signed_in.get(address).text, signed_in.get(address + "?revise=1").text]
            transaction.set_rollback(True)
        told.append(
            [
                (change_shown(page), re.findall(r"\d → \d errors?[^<]*|\d errors?, as before[^<]*", page))
                for page in pages
            ]
        )
        assert not any("SECRET" in page for page in pages)
    plain, golden = told
    assert [shown for shown, _ in golden] == [shown for shown, _ in plain]
    assert [bool(said) for _, said in golden] == [bool(said) for _, said in plain]
    assert golden[0] == plain[0]
    assert golden[1] == plain[1]
    assert golden[2] == plain[2]


def queries_of(ask: Callable[..., Any], address: str, sent: dict[str, object] | None = None) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert ask(address, sent, headers={"X-Fragment": "1"}).status_code < 300
    return len(queries)


@pytest.mark.parametrize(("counts", "to_save"), [(False, 26), (True, 50)])
def test_queries_of_save_and_of_next(world: World, signed_in: Client, counts: bool, to_save: int) -> None:
    """The same for the first item and the fourth: nothing grows with what was judged before."""
    queue = make_queue(world.run, counts=counts)
    found = []
    for _ in range(4):
        claim, ahead = claim_next(queue=queue, reviewer=world.clinician, prefetch=1)
        save = queries_of(signed_in.post, reverse("review_judge", args=(claim.item_id,)), form_of(claim))
        keep = queries_of(signed_in.post, reverse("review_keep", args=(claim.item_id,)), {"has_next": "1"})
        behind = queries_of(signed_in.get, reverse("review_work", args=(queue.pk,)) + f"?after={ahead.item_id}")
        found.append((save, keep + behind))
    assert max(save for save, _ in found) <= to_save
    assert max(behind for _, behind in found) <= 30


def test_a_path_without_an_answer_says_so_at_its_end(world: World, signed_in: Client) -> None:
    claim = held(world)
    address = reverse("review_item", args=(claim.item_id,))
    assert "ends without saying" not in signed_in.get(address).text
    ReasoningPath.objects.filter(pk=claim.item.path_id).update(answer="")
    assert "ends without saying" in signed_in.get(address).text
    ReasoningPath.objects.filter(pk=claim.item.path_id).update(finish_reason="length")
    assert "was cut off here" in signed_in.get(address).text
