"""Settling in a real browser: by keyboard, the focus goes to the summary, no barrier in either theme or width."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from apps.reasoning.models import Verdict
from apps.review.queues.flags import flag_question
from tests.browser.conftest import Reader
from tests.factories import make_run, make_user
from tests.pages.test_settle import address, disputed
from tests.review.test_override import Scene, make_scene

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Open = Callable[..., Reader]


def scene_of_two() -> Scene:
    scene = disputed(make_scene(4, run=make_run(config={"label_policy": "two"})))
    return disputed(scene, 3)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_by_keyboard_from_one_to_the_next_without_barriers(reader: Open, theme: str, width: int) -> None:
    scene = scene_of_two()
    seen = reader(make_user("adjudicator"), theme=theme, width=width)
    page = seen.page

    def sound() -> None:
        assert seen.barriers() == []
        assert not seen.wider_than_screen()

    seen.open(reverse("settle"))
    sound()
    seen.open(address(scene))
    sound()
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    expect(page.locator(".errors")).to_be_focused()
    sound()
    page.locator("#item-h").focus()
    for key in ("3", "f"):
        page.keyboard.press(key)
    expect(page.locator(".effect--error")).to_be_visible()
    expect(page.locator(".effect--correct")).to_be_hidden()
    sound()
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_be_focused()
    sound()
    page.keyboard.press("Enter")
    page.wait_for_url("**" + address(scene, 3) + "*")
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_be_focused()
    rulings = Verdict.objects.filter(source="adjudication").order_by("pk")
    assert [(v.label, v.details.get("sentences")) for v in rulings] == [("error", [3]), ("correct", None)]
    assert [said for said in seen.complaints if "422" not in said] == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_flags_without_barriers(reader: Open, theme: str, width: int) -> None:
    scene = make_scene(4)
    uid = scene.row().question.uid
    flag = flag_question(
        question=scene.row().question, project=scene.run.project, reviewer=make_user(), kind="outdated", note="No more."
    )
    seen = reader(make_user("adjudicator"), theme=theme, width=width)
    page = seen.page
    for name, args in (
        ("settle", ()),
        ("settle_flags", ()),
        ("question_flag", (scene.run.pk, uid)),
        ("settle_flag", (flag.pk,)),
    ):
        seen.open(reverse(name, args=args))
        assert seen.barriers() == [], name
        assert not seen.wider_than_screen(), name
    page.get_by_role("radio", name="Revoke").check()
    page.get_by_role("button", name="Decide").click()
    expect(page.locator(".errors")).to_be_focused()
    assert seen.barriers() == []
    page.get_by_role("textbox", name="Why").fill("Still taught.")
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#summary")).to_be_focused()
    assert seen.barriers() == []
    flag.refresh_from_db()
    assert flag.state == "revoked"
