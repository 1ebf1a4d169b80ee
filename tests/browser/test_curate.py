"""The curator's pages in a browser: the form by keyboard, its preview, no barrier and nothing wider than the screen."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.review.models import Claim, ReviewQueue
from apps.review.queues.flags import flag_question
from apps.review.queues.said import Said
from tests.browser.conftest import Reader
from tests.factories import make_user
from tests.pages.conftest import World
from tests.review.queue_world import claim_one, judge, make_queue

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
BOTH = pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])


def picture(page: Page, name: str) -> None:
    """Kept where CURATE_PICTURES says, to be looked at."""
    if folder := os.environ.get("CURATE_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def clean(person: Reader, name: str) -> None:
    picture(person.page, name)
    assert person.barriers() == [], name
    assert not person.wider_than_screen(), name


@BOTH
def test_a_queue_is_planned_by_keyboard(world: World, reader: Callable[..., Reader], theme: str, width: int) -> None:
    person = reader(world.curator, theme=theme, width=width)
    page = person.page
    person.open(reverse("review_queue_new") + "?run=four")
    expect(page.locator("#preview .sum .total")).to_contain_text("Time at 90 s")
    clean(person, f"new-{theme}")
    assert not page.locator("#id_by").is_visible()
    page.focus("#id_name")
    page.keyboard.type("Calibration")
    page.focus("[name=kind][value=random]")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#id_by")).to_be_visible()
    expect(page.locator("#preview")).to_contain_text("Choose what to stratify by")
    assert page.locator("#preview .field-error").count() == 0
    page.focus("[name=by][value=tier]")
    page.keyboard.press("Space")
    expect(page.locator("#preview table")).to_contain_text("medium")
    assert page.evaluate("document.activeElement.value") == "tier"
    clean(person, f"stratified-{theme}")
    for summary in page.locator("summary:visible").all():
        summary.click()
    clean(person, f"unfolded-{theme}")
    page.fill("#id_size", "0")
    page.keyboard.press("Enter")
    expect(page.locator(".errors")).to_be_focused()
    clean(person, f"wrong-{theme}")
    page.fill("#id_size", "12")
    page.keyboard.press("Enter")
    expect(page.locator(".note--success")).to_contain_text("is made")
    assert ReviewQueue.objects.get().size == 12
    clean(person, f"made-{theme}")
    assert [c for c in person.complaints if "422" not in c] == []


@BOTH
def test_a_queue_is_seen_through(world: World, reader: Callable[..., Reader], theme: str, width: int) -> None:
    queue = make_queue(world.run, plan={"kind": "stratified", "by": ["tier", "label"], "size": 30}, overlap=2)
    make_queue(world.run, plan={"kind": "tier_flip", "size": 2})
    look = Said(label="error", reasons=("wrong_fact",), comment="The dose looks odd to me.", flagged=True)
    judge(claim_one(queue, world.clinician), look)
    aside = claim_one(queue, world.clinician)
    flag_question(question=aside.item.question, project=queue.project, reviewer=world.clinician, kind="key_wrong", note="B is right.", item=aside.item)  # fmt: skip
    held = [claim_one(queue, make_user("clinician")) for _ in range(2)]
    Claim.objects.filter(pk=held[0].pk).update(expires_at=timezone.now() - timedelta(minutes=3))
    person = reader(world.curator, theme=theme, width=width)
    page = person.page
    person.open(reverse("review_queues"))
    clean(person, f"queues-{theme}")
    page.get_by_role("link", name=queue.name).click()
    clean(person, f"progress-{theme}")
    page.get_by_role("button", name="Release all that lapsed").press("Enter")
    expect(page.locator(".note--success")).to_contain_text("1 item went back")
    page.get_by_role("link", name="Close…").press("Enter")
    clean(person, f"close-{theme}")
    page.get_by_role("button", name="Pause it instead").press("Enter")
    expect(page.locator(".pagehead")).to_contain_text("Paused")
    clean(person, f"paused-{theme}")
    person.open(reverse("review_home"))
    picture(page, f"home-{theme}")
    expect(page.get_by_role("link", name="All queues")).to_be_visible()
    assert person.complaints == []
