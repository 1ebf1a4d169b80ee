"""The pages of quality and contamination in a real browser, from the button to what was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.exports.inspections.services import run_queued_inspections
from apps.questions.models import Question
from apps.reasoning.models import Response
from tests.browser.conftest import Reader
from tests.factories import make_question
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
STEM = " ".join(f"word{n}" for n in range(40))


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_what_would_leave_is_looked_through(
    world: World, reader: Callable[..., Reader], theme: str, width: int
) -> None:
    Question.objects.filter(pk=world.row.question_id).update(stem=STEM)
    make_question(stem=STEM.replace("word20", "another"), held_out=True, split="test")
    response = Response.objects.filter(run=world.run)[0]
    Response.objects.filter(pk=response.pk).update(text="<think> <img src=x> " + response.text)
    curator = reader(world.curator, theme=theme, width=width)
    page = curator.page

    curator.open(f"/exports/quality/{world.run.pk}/")
    assert curator.barriers() == []
    page.get_by_role("button", name="Look now").click()
    page.get_by_text("Waiting for a worker").wait_for()
    assert curator.barriers() == []
    run_queued_inspections()
    page.get_by_role("button", name="Look again").wait_for()  # came by itself
    assert curator.barriers() == []
    assert not curator.wider_than_screen()
    page.get_by_role("link", name="Think tag").click()
    sample = page.locator("#gate-think_tag li").first
    assert "<img src=x>" in sample.inner_text()
    sample.get_by_role("link").first.click()
    page.get_by_role("heading", name="Record, as exported").wait_for()

    curator.open(f"/exports/contamination/{world.run.pk}/")
    page.get_by_role("button", name="Look now").click()
    run_queued_inspections()
    page.locator(".pairs mark", has_text="another").wait_for()
    assert curator.barriers() == []
    assert not curator.wider_than_screen()

    curator.open(f"/exports/new/?run={world.run.name}")
    page.locator("summary", has_text="Quality gates and contamination").click()
    page.get_by_label("Think tag").select_option("exclude")
    assert curator.barriers() == []
    assert not curator.wider_than_screen()
    assert curator.complaints == []
