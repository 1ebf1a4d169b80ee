"""A run's batches on its page."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.pipeline.batches import SHOWN, batch_rows
from apps.pipeline.models import BatchJob
from apps.reasoning.models import Run
from tests.factories import make_finished_run, make_user
from tests.pages.test_override import plain

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    return make_finished_run(1, name="batched")


def make_batch(run: Run, **fields: Any) -> BatchJob:
    defaults = {"lane": "summarise@writer", "lease": uuid.uuid4(), "state": "submitted", "submitted_at": timezone.now()}
    return BatchJob.objects.create(run=run, **{**defaults, **fields})


@pytest.mark.parametrize("role", ["clinician", "curator"])
def test_batches_are_listed_with_the_providers_words_escaped(run: Run, client: Client, role: str) -> None:
    client.force_login(make_user(role))
    make_batch(run, status="in_progress", requests=5000, completed=1200, failed=3)
    make_batch(run, state="failed", error="line 3: <b>not</b> JSON")
    page = client.get(reverse("run", args=(run.pk,))).text
    assert "Summarise writer Away in_progress 5,000 1,200 3 just now" in plain(page)
    assert "Not taken" in page
    assert "line 3: &lt;b&gt;not&lt;/b&gt; JSON" in page


def test_a_run_without_batches_shows_none(run: Run, client: Client) -> None:
    client.force_login(make_user("clinician"))
    assert "Batches" not in client.get(reverse("run", args=(run.pk,))).text


def test_open_batches_come_first_and_the_list_ends(run: Run) -> None:
    first = make_batch(run, state="prepared")
    for _ in range(SHOWN):
        make_batch(run, state="taken")
    rows = batch_rows(run)
    assert rows[0].job == first
    assert len(rows) == SHOWN
