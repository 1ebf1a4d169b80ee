"""The three practice items by keyboard alone, and home before and after them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from apps.review.models import Claim, Judgment, ReviewSettings
from apps.review.practice.items import practice_items
from tests.browser.conftest import Reader
from tests.pages.conftest import World
from tests.review.queue_world import make_queue

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Open = Callable[..., Reader]
KEYS = (("c",), ("7", "f"), ("6", "l", "s", "w"))  # what the lessons say


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_by_keyboard_alone(world: World, reader: Open) -> None:
    make_queue(world.run)
    seen = reader(world.clinician)
    page = seen.page
    seen.open(reverse("review_home"))
    assert seen.barriers() == []
    page.get_by_role("link", name="Three practice items").focus()
    press(page, "Enter")
    for item, keys in zip(practice_items(), KEYS, strict=True):
        expect(page.locator("#item-h")).to_have_text(f"Practice {item.number} of 3")
        expect(page.locator("#judge")).to_be_visible()
        assert seen.barriers() == []
        press(page, *keys)
        for n in item.wrong[:1]:
            assert page.locator(f"#s{n} input").is_checked()
        press(page, "Enter")
        expect(page.locator(".outcome")).to_be_visible()
        assert seen.focused() == "item-h"
        expect(page.locator("#status")).to_have_text(f"You agree with what is known: {item.label}.")
        assert seen.barriers() == []
        press(page, "Enter")
    page.wait_for_url("**" + reverse("review_home"))
    expect(page.get_by_role("button", name="Review 10 questions, about 15 minutes")).to_be_visible()
    assert seen.barriers() == []
    assert seen.complaints == []
    assert page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('rm-'))") == []
    assert ReviewSettings.objects.get(user=world.clinician).practised_at
    assert not Judgment.objects.exists()
    assert not Claim.objects.exists()


@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 390), ("dark", 390)])
def test_no_barriers(world: World, reader: Open, theme: str, width: int) -> None:
    make_queue(world.run)
    seen = reader(world.clinician, theme=theme, width=width)
    page = seen.page
    for address in (reverse("review_home"), reverse("practice_item", args=(3,))):
        seen.open(address)
        assert seen.barriers() == []
        assert not seen.wider_than_screen()
    press(page, "e", "Enter")
    expect(page.locator(".errors")).to_be_visible()
    assert seen.barriers() == []
    page.locator("#item-h").focus()
    press(page, "8", "m", "6", "l", "Enter")
    expect(page.locator(".outcome")).to_be_visible()
    assert seen.barriers() == []
    assert not seen.wider_than_screen()
