"""Judging in a real browser: by keyboard alone, without a connection, after the session ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import expect

from apps.review.models import Judgment
from tests.browser.conftest import Reader
from tests.factories import PASSWORD
from tests.pages.conftest import World
from tests.review.queue_world import make_queue

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Open = Callable[..., Reader]


def open_queue(world: World, reader: Open, **how: object) -> Reader:
    seen = reader(world.clinician, **how)
    seen.open(reverse("review_work", args=(make_queue(world.run).pk,)))
    return seen


def test_ten_items_by_keyboard_alone(world: World, reader: Open) -> None:
    seen = open_queue(world, reader)
    page = seen.page
    for n in range(10):
        expect(page.locator("#judge")).to_be_visible()
        if n:
            assert seen.focused() == "item-h"
        for key in ("c",) if n % 2 else ("1", "f"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator(".outcome")).to_be_visible()
        assert seen.focused() == "item-h"
        page.keyboard.press("Enter")
    page.wait_for_url("**" + reverse("review_sitting"))
    labels = list(Judgment.objects.order_by("pk").values_list("verdict__label", "reasons"))
    assert labels == [("error", ["wrong_fact"]), ("correct", [])] * 5
    assert seen.complaints == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_no_barriers(world: World, reader: Open, theme: str, width: int) -> None:
    seen = open_queue(world, reader, theme=theme, width=width)
    page = seen.page
    assert seen.barriers() == []
    assert not seen.wider_than_screen()
    page.keyboard.press("?")
    assert seen.barriers() == []
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    expect(page.locator(".errors")).to_be_visible()
    assert seen.barriers() == []
    page.keyboard.press("Escape")
    page.locator("#item-h").focus()
    page.keyboard.press("f")
    page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible()
    assert seen.barriers() == []
    assert not seen.wider_than_screen()
    for name in ("review_home", "review_sitting"):
        seen.open(reverse(name))
        assert seen.barriers() == []


def test_kept_without_a_connection_and_saved_once(world: World, reader: Open) -> None:
    seen = open_queue(world, reader)
    page = seen.page
    page.context.set_offline(True)
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    expect(page.locator("#unsaved")).to_contain_text("Not saved yet")
    expect(page.locator("#judge")).to_be_visible()
    assert not Judgment.objects.exists()
    page.context.set_offline(False)
    expect(page.locator(".outcome")).to_be_visible(timeout=15_000)
    expect(page.locator("#unsaved")).to_be_hidden()
    assert Judgment.objects.count() == 1


def test_kept_when_the_session_ended(world: World, reader: Open) -> None:
    seen = open_queue(world, reader)
    page = seen.page
    Session.objects.all().delete()
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    expect(page.locator("#unsaved")).to_contain_text("signed out")
    page.locator("#unsaved a").click()
    page.locator("#id_username").fill(world.clinician.username)
    page.locator("#id_password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible(timeout=15_000)
    assert page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('rm-unsaved-'))") == []
    assert list(Judgment.objects.values_list("verdict__label", flat=True)) == ["correct"]
