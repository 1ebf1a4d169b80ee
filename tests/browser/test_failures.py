"""The failures page with its samples open, and trying a class again, in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse

from apps.pipeline.models import Failure
from tests.browser.conftest import Reader
from tests.factories import make_call
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def set_aside(world: World, stage: str, error_class: str, number: int) -> None:
    words = "the verdict does not agree with its axes " * (1 + 3 * number)
    call = make_call(
        world.run, world.row.question, stage, f"path:{number}", error_class=error_class, error=words, status="failed",
        excerpt='{"verdict": "Correct", <b>not bold</b> ' + "unbroken" * 40, seed=number, params={"temperature": 1.0},
    )  # fmt: skip
    Failure.objects.create(
        run=world.run, question=world.row.question, stage=stage, item=call.item, error_class=error_class, message=words, call=call
    )  # fmt: skip


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_samples_lie_open(world: World, reader: Callable[..., Reader], theme: str, width: int) -> None:
    for number in range(4):
        set_aside(world, "verify", "schema", number)
    set_aside(world, "summarise", "refused", 1)
    person = reader(world.curator, theme=theme, width=width)
    group = "?stage=verify&endpoint=judge&class=schema"
    for address in (
        reverse("failures", args=(world.run.pk,)),
        reverse("failures_aside", args=(world.run.pk,)) + group,
        reverse("failures_attempts", args=(world.run.pk,)) + group,
        reverse("failures_retry", args=(world.run.pk,)) + group,
        reverse("run_question", args=(world.run.pk, world.row.question.uid)),
    ):
        person.open(address)
        person.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert (address, person.barriers(), person.complaints) == (address, [], [])
        assert not person.wider_than_screen(), address


def test_a_class_is_tried_again(world: World, reader: Callable[..., Reader]) -> None:
    for number in range(2):
        set_aside(world, "verify", "schema", number)
    set_aside(world, "summarise", "refused", 1)
    person = reader(world.curator)
    person.open(reverse("failures", args=(world.run.pk,)))
    person.page.get_by_role("link", name="Try again… Verify, judge, Reply not in the form asked for").click()
    person.page.get_by_role("button", name="Try again").click()
    person.page.wait_for_selector(".note--success")
    person.page.locator("#status", has_text="2 outputs of 1 question").wait_for(state="attached")
    assert person.page.locator("#aside-verify-judge-schema").count() == 0
    assert person.page.locator("#aside-summarise-writer-refused").count() == 1
    assert person.complaints == []
