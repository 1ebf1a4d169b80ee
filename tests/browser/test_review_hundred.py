"""A hundred items in a row, by keyboard alone: each judged once, the focus never lost, the next one always there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db.models import Count
from django.urls import reverse
from playwright.sync_api import Page, expect

from apps.review.models import Claim, Judgment
from apps.review.screen.sitting import LENGTH
from tests.browser.conftest import Reader
from tests.factories import make_finished_run, make_user
from tests.review.queue_world import make_queue

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ITEMS = 100


def test_a_hundred_items_by_keyboard(reader: Callable[..., Reader]) -> None:
    run = make_finished_run(12)  # 108 paths
    queue = make_queue(run, plan={"size": ITEMS})
    assert queue.size == ITEMS
    seen = reader(make_user("clinician"))
    page = seen.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.resource_type}"))
    seen.open(reverse("review_work", args=(queue.pk,)))
    for n in range(ITEMS):
        judge_one(page, error=n % 3 == 0)
        if (n + 1) % LENGTH:
            assert page.evaluate("window.sameDocument") == n // LENGTH, "a page was loaded between two items"
        elif n + 1 < ITEMS:
            go_on(page)
    page.wait_for_url("**" + reverse("review_sitting"))
    judged = Judgment.objects.aggregate(said=Count("pk"), items=Count("item", distinct=True))
    assert judged == {"said": ITEMS, "items": ITEMS}
    assert Claim.objects.filter(state="judged", kept_at__isnull=False).count() == ITEMS
    assert seen.complaints == []
    pages = asked.count("GET document")
    assert pages <= 3 * (ITEMS // LENGTH), "only the sittings load pages"


def judge_one(page: Page, *, error: bool) -> None:
    """The focus is on the heading when the item comes and when the judge's verdict comes, and nowhere else between."""
    expect(page.locator("#judge")).to_be_visible()
    item = page.locator("[data-item]").get_attribute("data-item")
    if page.evaluate("window.sameDocument === undefined"):
        page.evaluate("(n) => { window.sameDocument = n }", Judgment.objects.count() // LENGTH)
    else:
        expect(page.locator("#item-h")).to_be_focused()
    for key in ("2", "f") if error else ("c",):
        page.keyboard.press(key)
    page.wait_for_function("document.activeElement !== null")
    with page.expect_response(f"**/items/{item}/judge/"):
        page.keyboard.press("Enter")
    expect(page.locator(".outcome")).to_be_visible()
    expect(page.locator("#item-h")).to_be_focused()
    last = page.locator("#keep[data-over]").count()
    with page.expect_response(f"**/items/{item}/keep/") as kept:
        page.keyboard.press("Enter")
    assert kept.value.status == (200 if last else 204), "the next item was on the screen before this answer"


def go_on(page: Page) -> None:
    """From the end of a sitting to the next one, by keyboard."""
    page.wait_for_url("**" + reverse("review_sitting"))
    button = page.locator("form button.btn--primary")
    for _ in range(40):
        page.keyboard.press("Tab")
        if button.evaluate("(it) => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/review/queues/**")
