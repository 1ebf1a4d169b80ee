"""A run's batches on its page, in a browser."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.pipeline.models import BatchJob
from tests.browser.conftest import Reader
from tests.pages.conftest import World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_batches_can_be_read(world: World, reader: Callable[..., Reader], theme: str, width: int) -> None:
    for state, status, error in (
        ("submitted", "in_progress", ""),
        ("prepared", "", "rate_limit: 429: " + "too many requests " * 8),
        ("taken", "expired", "4 unreadable, foreign or repeated lines were ignored"),
        ("failed", "failed", "line 3: " + "unbroken" * 30),
    ):
        BatchJob.objects.create(
            run=world.run, lane="summarise@writer", lease=uuid.uuid4(), state=state, status=status, error=error,
            requests=50_000, completed=12_345, failed=67, submitted_at=timezone.now(),
        )  # fmt: skip
    person = reader(world.clinician, theme=theme, width=width)
    person.open(reverse("run", args=(world.run.pk,)))
    rows = person.page.locator("#batches-h").locator("xpath=ancestor::table").locator("tbody tr")
    assert rows.count() == 4
    assert (person.barriers(), person.complaints) == ([], [])
    assert not person.wider_than_screen()
