"""Agreement in a browser: full of figures, both themes, a laptop and a phone, no complaint and no barrier."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse

from tests.browser.conftest import Reader
from tests.factories import make_user
from tests.review.agreement_world import make_judged_ledger

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_figure_can_be_read(reader: Callable[..., Reader], theme: str, width: int) -> None:
    run = make_judged_ledger(questions=8, reviewers=6, name="autumn")
    person = reader(make_user("curator"), theme=theme, width=width)
    for query in ("", f"?run={run.name}&measure=kappa&figure=ppv"):
        person.open(reverse("agreement") + query)
        assert person.barriers() == []
        assert person.complaints == []
        assert not person.wider_than_screen()


def test_a_switch_by_keyboard_keeps_the_run(reader: Callable[..., Reader]) -> None:
    run = make_judged_ledger(questions=4, name="autumn")
    person = reader(make_user("curator"))
    person.open(reverse("agreement"))
    person.page.select_option("#run", "autumn")
    person.page.press("#run", "Tab")
    assert person.focused() == "Show"
    person.page.keyboard.press("Enter")
    person.page.wait_for_url("**run=autumn*")
    person.page.click(".seg a:has-text('Specificity')")
    person.page.wait_for_url("**figure=specificity*")
    assert f"run={run.name}" in person.page.url
    assert person.page.is_visible("text=Specificity by slice")
