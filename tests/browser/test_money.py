"""Money in a browser: the run's page with everything there is to say, and a budget raised from it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.pipeline.models import RunBudget
from apps.reasoning.models import Run
from tests.browser.conftest import Reader
from tests.factories import make_user
from tests.pipeline.ledgers import call, count, priced_run, write

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def stopped(db: None) -> Run:
    """A run that its budget paused, past its soft budget, with a model that has no price."""
    run, (one, two) = priced_run(2, "judge", "writer", state="paused")
    count(run, {"stage:verify": 3, "records": 1, "state:ready:": 1})
    write(run, [call(run, one, "verify", "judge", "0.5"), call(run, two, "verify", "judge", "0.5", status="failed")])
    RunBudget.objects.filter(run=run).update(
        hard=2, soft=1, reserved="0.25", stopped_at=timezone.now(), short_of="1.21"
    )
    return run


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_nothing_stands_in_the_way(stopped: Run, reader: Callable[..., Reader], theme: str, width: int) -> None:
    person = reader(make_user("curator"), theme=theme, width=width)
    for address in (reverse("run", args=(stopped.pk,)), reverse("run_budget", args=(stopped.pk,))):
        person.open(address)
        assert person.page.locator("#budget-stop").is_visible()
        assert person.page.locator("#budget-soft").is_visible()
        assert [*person.complaints, *person.barriers()] == []
        assert not person.wider_than_screen()


def test_a_budget_is_raised_by_keyboard(stopped: Run, reader: Callable[..., Reader]) -> None:
    person = reader(make_user("curator"))
    person.open(reverse("run", args=(stopped.pk,)))
    person.page.focus("#raise-budget")
    person.page.keyboard.press("Enter")
    person.page.fill("#id_hard", "0.5")
    person.page.press("#id_hard", "Enter")
    person.page.wait_for_selector(".errors")
    assert "not changed" in person.focused()
    assert person.barriers() == []
    person.complaints.clear()  # the browser logs the 422
    person.page.fill("#id_hard", "40")
    person.page.press("#id_hard", "Enter")
    person.page.wait_for_selector("#live")
    assert not person.page.locator("#budget-stop").is_visible()
    assert person.complaints == []
    stopped.refresh_from_db()
    assert (stopped.state, stopped.money.hard) == ("running", Decimal(40))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_estimate_is_read_before_the_run_is_made(stopped: Run, reader: Callable[..., Reader], theme: str) -> None:
    person = reader(make_user("curator"), theme=theme)
    person.open(reverse("run_new"))
    person.page.fill("#id_name", "next")
    person.page.select_option("#id_start_from", label=stopped.name)
    person.page.click("#do-estimate")
    person.page.wait_for_selector("text=Money by stage")
    person.page.click("text=Where these figures come from")
    assert [*person.complaints, *person.barriers()] == []
    assert "2 questions" in str(person.page.text_content("#status"))
