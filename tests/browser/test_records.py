"""What follows is on the page before anything is saved: by keyboard, without barriers after each swap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.reasoning.models import RunQuestion
from apps.review.models import ReviewSettings
from apps.review.models_records import RecordDecision
from tests.browser.conftest import Reader
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_tier_is_set_by_keyboard(world: World, reader: Callable[..., Reader], theme: str) -> None:
    person = reader(world.clinician, theme=theme)
    page = person.page
    person.open(reverse("record_change", args=(world.run.pk, world.row.question.uid, "tier")))
    page.focus("[name=tier][value=difficult]")
    page.keyboard.press("Space")
    expect(page.locator("#shown .change")).to_contain_text("Difficult")
    assert page.evaluate("document.activeElement.value") == "difficult"
    assert person.barriers() == []
    page.focus("#f-reason")
    page.keyboard.type("Needs new reasoning.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("medium → difficult")
    assert RunQuestion.objects.get(pk=world.row.pk).tier == "difficult"
    assert person.barriers() == []
    assert person.complaints == []


def test_a_record_is_accepted_and_the_claim_shown_together(world: World, reader: Callable[..., Reader]) -> None:
    person = reader(world.clinician)
    page = person.page
    person.open(reverse("record", args=(world.run.pk, world.row.question.uid, 1)))
    page.get_by_role("button", name="Accept").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".pagehead .chip--correct")).to_have_text("Accepted")
    assert RecordDecision.objects.get().by == world.clinician
    assert person.barriers() == []
    person.open(reverse("alike", args=(world.run.pk, world.row.question.uid)) + f"?path={world.path.pk}&s=4")
    for place, errors in ((0, "6 errors"), (1, "7 errors")):
        page.locator("[name=paths]").nth(place).check()
        expect(page.locator("#shown .change")).to_contain_text(errors)
        assert person.barriers() == []
    assert person.complaints == []


def test_records_are_decided_by_single_keys(world: World, reader: Callable[..., Reader]) -> None:
    person = reader(world.clinician)
    page = person.page
    first, second = (reverse("record", args=(world.run.pk, world.row.question.uid, slot)) for slot in (1, 2))
    person.open(first)
    page.keyboard.press("j")
    page.wait_for_url("**" + second)
    page.keyboard.press("k")
    page.wait_for_url("**" + first)
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    assert person.barriers() == []
    page.keyboard.press("a")  # nothing while the list is open
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()
    assert not RecordDecision.objects.exists()
    page.keyboard.press("a")
    expect(page.locator(".pagehead .chip--correct")).to_have_text("Accepted")
    page.keyboard.press("t")
    page.wait_for_url("**/change/return/?slot=1")
    page.go_back()
    page.keyboard.press("x")
    page.wait_for_url("**/change/exclude/?slot=1")
    page.focus("#f-reason")
    page.keyboard.type("a text with a, t, x, j and k?")
    assert page.input_value("#f-reason") == "a text with a, t, x, j and k?"
    assert RecordDecision.objects.count() == 1
    assert person.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_single_keys_do_nothing_where_a_person_switched_them_off(
    world: World, reader: Callable[..., Reader], width: int
) -> None:
    ReviewSettings.objects.create(user=world.clinician, single_keys=False)
    person = reader(world.clinician, width=width)
    page = person.page
    person.open(reverse("record", args=(world.run.pk, world.row.question.uid, 1)))
    address = page.url
    for key in "atxjk":
        page.keyboard.press(key)
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_contain_text("switched single keys off")
    assert person.barriers() == []
    assert not person.wider_than_screen()
    assert page.url == address
    assert not RecordDecision.objects.exists()
    assert person.complaints == []
