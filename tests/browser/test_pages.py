"""Each page in a browser: both themes, a laptop and a phone, no complaint, no barrier."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse

from apps.questions.access import ADJUDICATOR
from tests.browser.conftest import Reader
from tests.pages.addresses import page_addresses
from tests.pages.conftest import World, with_role

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_page(world: World, reader: Callable[..., Reader], theme: str, width: int) -> None:
    person = reader(with_role(world.curator, ADJUDICATOR), theme=theme, width=width)
    found: dict[str, list[str]] = {}
    for name, address in page_addresses(world).items():
        person.open(address)
        problems = [*person.complaints, *person.barriers()]
        if person.wider_than_screen():
            problems.append("wider than the screen")
        if problems:
            found[name] = problems
        person.complaints.clear()
    assert found == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_outside(world: World, reader: Callable[..., Reader], theme: str) -> None:
    person = reader(None, theme=theme)
    person.open(reverse("login"))
    assert person.barriers() == []
    assert person.complaints == []
    person.page.fill("#id_username", "nobody")
    person.page.fill("#id_password", "wrong")
    person.page.press("#id_password", "Enter")
    person.page.wait_for_selector(".errors")
    assert person.barriers() == []
    assert "not signed in" in person.focused()


def test_theme_switch_is_kept(world: World, reader: Callable[..., Reader]) -> None:
    person = reader(world.clinician, theme="light")
    person.open(reverse("runs"))
    ground = "getComputedStyle(document.body).backgroundColor"
    light = person.page.evaluate(ground)
    person.page.click("[data-theme-toggle]")
    dark = person.page.evaluate(ground)
    assert dark != light
    person.open(reverse("questions"))
    assert person.page.evaluate(ground) == dark
    assert person.page.get_attribute("[data-theme-toggle]", "aria-pressed") == "true"
