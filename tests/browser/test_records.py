"""What follows is on the page before anything is saved: by keyboard, without barriers after each swap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.reasoning.models import RunQuestion
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
