"""The override as a page and as a dialog: consequences first, then saved or refused with the reason."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from apps.reasoning.models import RunQuestion, Verdict
from tests.factories import make_user
from tests.pages.conftest import World

HTMX = {"HX-Request": "true"}


@pytest.fixture
def cutoff(world: World) -> World:
    """The question with four errors, one below medium; its second path is judged Correct."""
    world.row = RunQuestion.objects.select_related("question").get(run=world.run, error_count=4)
    world.path = world.run.paths.filter(question=world.row.question, origin="generated").order_by("pk")[1]
    return world


def address(world: World) -> str:
    return reverse("override", args=(world.run.pk, world.path.pk))


def form(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "label": "error",
        "correctness": "fail",
        "coherence": "pass",
        "factuality": "pass",
        "reason": "Insulin before potassium is unsafe.",
        "sentences": "2, 4",
        "version": RunQuestion.objects.get(pk=world.row.pk).version,
        "idempotency_key": str(uuid4()),
    } | changes


def verdicts(world: World) -> list[tuple[str, str]]:
    return list(Verdict.objects.filter(path=world.path).order_by("pk").values_list("source", "label"))


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_consequences_stand_there_before_saving(cutoff: World, signed_in: Client) -> None:
    text = plain(signed_in.get(address(cutoff)).text)
    assert "Now 4 errors Easy" in text
    assert "After 5 errors Medium" in text
    assert verdicts(cutoff) == [("judge", "correct")]


def test_saving_moves_the_tier_at_once_and_shows_both_verdicts(cutoff: World, signed_in: Client) -> None:
    response = signed_in.post(address(cutoff), form(cutoff), follow=True)
    row = RunQuestion.objects.get(pk=cutoff.row.pk)
    assert (row.tier, row.error_count, row.overridden) == ("medium", 5, True)
    assert verdicts(cutoff) == [("judge", "correct"), ("person", "error")]
    text = plain(response.text)
    assert "Your verdict is saved" in text
    assert "4 → 5 errors: easy → medium" in text
    assert "Medium 5 Error, 4 Correct" in text
    assert "Insulin before potassium is unsafe." in text
    assert "Weighs every option and ends at the key." in text
    assert response.text.count("sent--cited") == 2


def test_saved_from_the_dialog_the_page_is_read_again(cutoff: World, signed_in: Client) -> None:
    response = signed_in.post(address(cutoff), form(cutoff), headers=HTMX)
    assert (
        response["HX-Redirect"]
        == reverse("run_question", args=(cutoff.run.pk, cutoff.row.question.uid)) + f"?path={cutoff.path.pk}"
    )
    assert len(verdicts(cutoff)) == 2


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"label": ""}, "label", "Choose Correct or Error"),
        ({"label": "unjudged"}, "label", "valid choice"),
        ({"label": "correct"}, "label", "passes all three axes"),
        ({"correctness": "pass"}, "correctness", "fails at least one axis"),
        ({"coherence": ""}, "coherence", "pass or fail for coherence"),
        ({"reason": "  "}, "reason", "Give the reason"),
        ({"sentences": "400"}, "sentences", "there is no 400"),
        ({"sentences": "all"}, "sentences", "sentence numbers"),
    ],
)
def test_what_cannot_be_saved_says_so_beside_its_field(
    cutoff: World, signed_in: Client, changes: dict[str, str], field: str, words: str
) -> None:
    for headers in ({}, HTMX):
        response = signed_in.post(address(cutoff), form(cutoff, **changes), headers=headers)
        assert response.status_code == 422
        assert words in plain(response.text)
        assert f'<a href="#f-{field}">' in response.text
        assert f'id="f-{field}"' in response.text
        assert "data-focus" in response.text
    assert verdicts(cutoff) == [("judge", "correct")]
    if "reason" not in changes:
        assert "Insulin before potassium is unsafe." in response.text


def test_a_change_meanwhile_is_a_conflict_with_both_sides(cutoff: World, client: Client) -> None:
    mine = form(cutoff)
    other = make_user(first_name="Ada", last_name="Moreau")
    client.force_login(other)
    client.post(address(cutoff), form(cutoff, reason="Misreads the gas."))
    client.force_login(cutoff.clinician)
    response = client.post(address(cutoff), mine, headers=HTMX)
    assert response.status_code == 409
    text = plain(response.text)
    assert "Ada Moreau says Error “Misreads the gas.”" in text
    assert "You say Error “Insulin before potassium is unsafe.”" in text
    assert len(verdicts(cutoff)) == 2
    fresh = re.search(r'name="version" value="(\d+)"', response.text)
    assert fresh
    assert client.post(address(cutoff), mine | {"version": fresh[1]}).status_code == 302
    assert len(verdicts(cutoff)) == 3


def test_sent_twice_it_is_saved_once(cutoff: World, signed_in: Client) -> None:
    same = form(cutoff)
    assert [signed_in.post(address(cutoff), same).status_code for _ in range(2)] == [302, 302]
    assert len(verdicts(cutoff)) == 2


def test_stale_outputs_wait_for_a_curator(cutoff: World, client: Client) -> None:
    page = reverse("run_question", args=(cutoff.run.pk, cutoff.row.question.uid))
    client.force_login(cutoff.clinician)
    client.post(address(cutoff), form(cutoff))
    assert RunQuestion.objects.get(pk=cutoff.row.pk).hold
    assert "A curator confirms that." in client.get(page).text
    client.force_login(cutoff.curator)
    assert "Make them again" in client.get(page).text
    response = client.post(reverse("remake", args=(cutoff.run.pk, cutoff.row.question.uid)), follow=True)
    assert not RunQuestion.objects.get(pk=cutoff.row.pk).hold
    assert "Make them again" not in response.text


def test_a_replaced_path_is_not_there(cutoff: World, signed_in: Client) -> None:
    cutoff.run.paths.filter(pk=cutoff.path.pk).update(current=False)
    assert signed_in.get(address(cutoff)).status_code == 404
