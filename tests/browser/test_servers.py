"""Model servers on a run's page in a browser: both themes, a laptop and a phone, and a log that stays unfolded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.pipeline.models import ModelServer
from apps.reasoning.models import Run
from tests.browser.conftest import Reader
from tests.factories import make_run, make_user
from tests.workers.serving import served, served_config

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LOG = "\n".join(
    f"INFO 11-25 18:0{n % 10}:00 [loggers.py:257] Engine 000: running {n} <b>requests</b>" for n in range(80)
)


def serve(run: Run, endpoint: str, replica: int = 0, **fields: Any) -> None:
    now = timezone.now()
    defaults = {
        "host": "gpu-node-7.example:123:456", "model": f"m-{endpoint}", "state": "ready", "started_at": now - timedelta(hours=3),
        "seen_at": now + timedelta(minutes=5), "log_tail": LOG, "restarts": 0,
        "metrics": {"kv_use": 0.71, "running": 211, "waiting": 48, "preemptions": 12, "prefix_hit_rate": 0.823,
                    "tokens_in_s": 48211, "tokens_out_s": 6114},
        "history": [{"tokens_out_s": 5000 + 37 * n * (n % 7)} for n in range(59)],
    }  # fmt: skip
    ModelServer.objects.create(project=run.project, endpoint=endpoint, replica=replica, **(defaults | fields))


@pytest.fixture
def run(db: None) -> Run:
    endpoints = (
        served("qwen2.5-72b"),
        served("r1-distill-70b", rotate="node"),
        served("writer"),
        served("judge", replicas=3),
    )
    run = make_run(name="fleet", config=served_config(*endpoints).model_dump(mode="json"))
    serve(run, "judge", restarts=1)
    serve(run, "judge", 1, state="starting", metrics={}, history=[])
    serve(
        run, "judge", 2, state="down", restarts=7, metrics={}, history=[],
        last_error="ended with code 1: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB " + "x" * 300,
    )  # fmt: skip
    serve(run, "qwen2.5-72b", seen_at=timezone.now() - timedelta(minutes=4))
    serve(run, "r1-distill-70b", state="stopped", log_tail="")
    return run


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_the_table(run: Run, reader: Callable[..., Reader], theme: str, width: int) -> None:
    person = reader(make_user("curator"), theme=theme, width=width)
    person.open(reverse("run", args=(run.pk,)))
    person.page.click("#log-judge-0 summary")
    assert person.page.locator("#log-judge-0 pre").is_visible()
    assert person.barriers() == []
    assert person.complaints == []
    assert not person.wider_than_screen()


def test_a_log_stays_unfolded_while_the_page_moves(run: Run, reader: Callable[..., Reader]) -> None:
    person = reader(make_user("curator"))
    person.open(reverse("run", args=(run.pk,)))
    person.page.click("#log-judge-0 summary")
    ModelServer.objects.filter(endpoint="judge", replica=0).update(log_tail="a newer line")
    person.page.locator("#log-judge-0 pre", has_text="a newer line").wait_for()
    assert person.page.locator("#log-judge-0 pre").is_visible()
    assert not person.page.locator("#log-judge-1 pre").is_visible()
    assert person.barriers() == []
    assert person.complaints == []
