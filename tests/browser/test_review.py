"""Judging in a real browser: by keyboard alone, without a connection, after the session ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import expect

from apps.review.models import Claim, Judgment, ReviewQueue
from tests.browser.conftest import Reader
from tests.factories import PASSWORD, make_user
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
    """In every state: before, keys, 422, unsaved, after, 409, empty, and the pages around."""
    seen = open_queue(world, reader, theme=theme, width=width)
    page = seen.page

    def clean(state: str) -> None:
        assert seen.barriers() == [], state
        assert not seen.wider_than_screen(), state

    page.locator(".aids details").last.locator("summary").click()
    page.locator("label:has(#unit-si)").click()
    clean("an item with normal ranges unfolded, in SI units")
    page.locator("#item-h").focus()
    page.keyboard.press("?")
    clean("keys")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    expect(page.locator(".errors")).to_be_focused()
    clean("422")
    page.locator("#item-h").focus()
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(page.locator("#unsaved")).to_contain_text("Not saved yet")
    clean("unsaved")
    page.context.set_offline(False)
    expect(page.locator(".outcome")).to_be_visible(timeout=15_000)
    clean("after")
    other = page.context.new_page()
    other.goto(page.url + "?revise=1")
    page.keyboard.press("r")
    expect(page.locator("#judge")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible()
    other.locator("#comment").fill("Said in the other window.")
    other.keyboard.press("Control+Enter")
    expect(other.locator(".sides")).to_be_visible()
    seen.page = other
    clean("409")
    ReviewQueue.objects.update(state="paused")
    Claim.objects.all().update(state="released", slot=None)
    other.goto(seen.base + reverse("review_work", args=(ReviewQueue.objects.latest("pk").pk,)))
    expect(other.locator(".empty")).to_contain_text("paused")
    clean("empty")
    for name in ("review_home", "review_sitting"):
        seen.open(reverse(name))
        clean(name)


def test_two_windows_of_one_person(world: World, reader: Open) -> None:
    """The later save is refused with both sides; what was typed stays, and saving again goes through."""
    seen = open_queue(world, reader)
    first = seen.page
    second = first.context.new_page()
    second.goto(first.url)
    second.locator("#comment").fill("Insulin comes too early.")
    second.keyboard.press("Escape")
    second.keyboard.press("2")
    second.keyboard.press("m")
    first.bring_to_front()
    first.keyboard.press("c")
    first.keyboard.press("Enter")
    expect(first.locator(".outcome")).to_be_visible()
    second.bring_to_front()
    second.keyboard.press("Enter")
    sides = second.locator(".sides .card")
    expect(sides.nth(0)).to_contain_text("Correct")
    expect(sides.nth(1)).to_contain_text("Insulin comes too early.")
    expect(second.locator(".errors")).to_be_focused()
    expect(second.locator("#comment")).to_have_value("Insulin comes too early.")
    assert second.locator("[name=reasons][value=missed_finding]").is_checked()
    assert second.locator("#s2 input").is_checked()
    second.locator("#item-h").focus()
    second.keyboard.press("Enter")
    expect(second.locator(".outcome")).to_be_visible()
    said = list(Judgment.objects.order_by("round").values_list("verdict__label", "phase", "comment"))
    assert said == [("correct", "first", ""), ("error", "revised", "Insulin comes too early.")]


def test_two_people_never_meet(world: World, reader: Open) -> None:
    queue = make_queue(world.run)
    one, two = reader(world.clinician), reader(make_user("clinician"))
    shown = []
    for seen in (one, two):
        seen.open(reverse("review_work", args=(queue.pk,)))
        expect(seen.page.locator("#judge")).to_be_visible()
    for seen in (one, two, one, two):
        shown.append(seen.page.locator("[data-item]").get_attribute("data-item"))
        seen.page.keyboard.press("c")
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator(".outcome")).to_be_visible()
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("#judge")).to_be_visible()
    assert len(set(shown)) == 4
    assert Judgment.objects.values("item").distinct().count() == 4
    assert one.complaints == two.complaints == []


def test_a_draft_outlives_loading_again_and_the_back_button(world: World, reader: Open) -> None:
    seen = open_queue(world, reader)
    page = seen.page
    item = page.locator("[data-item]").get_attribute("data-item")
    page.keyboard.press("1")
    page.keyboard.press("l")
    page.locator("#comment").fill("Half a thought")
    page.reload()
    expect(page.locator("#comment")).to_have_value("Half a thought")
    assert page.locator("[name=label][value=error]").is_checked()
    page.goto(seen.base + reverse("review_home"))
    page.go_back()
    expect(page.locator("#comment")).to_have_value("Half a thought")
    assert page.locator("[data-item]").get_attribute("data-item") == item
    assert page.locator("#s1 input").is_checked()
    page.locator("#item-h").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible()
    page.reload()  # what was said stays on the screen until one goes on
    expect(page.locator(".outcome")).to_be_visible()
    assert page.locator("[data-item]").get_attribute("data-item") == item
    assert Judgment.objects.get().comment == "Half a thought"
    assert seen.complaints == []


def test_settings_are_the_same_on_another_machine(world: World, reader: Open) -> None:
    seen = open_queue(world, reader)
    page = seen.page
    page.keyboard.press("?")
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    with page.expect_response("**" + reverse("review_settings")):
        page.locator("label:has(#size-l)").click()
    page.locator("#item-h").focus()
    page.keyboard.press("c")
    assert not page.locator("[name=label][value=correct]").is_checked()
    elsewhere = reader(world.clinician)
    elsewhere.open(reverse("review_home"))
    elsewhere.page.goto(page.url)
    assert elsewhere.page.locator("#size-l").is_checked()
    assert not elsewhere.page.locator("#keys-on").is_checked()
    elsewhere.page.keyboard.press("c")
    assert not elsewhere.page.locator("[name=label][value=correct]").is_checked()


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
