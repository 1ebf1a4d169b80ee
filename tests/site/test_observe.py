"""Health and metrics: the truth, to those who may know it."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.pipeline.models import PumpLease, RunBudget, Task
from apps.reasoning.models import RunCounter
from apps.reasoning.selectors import run_counters
from apps.review.queues.build import build_queue
from apps.review.queues.plans import SamplingPlan
from reasonmed_site import health, metrics
from reasonmed_site.logs import JsonLines
from tests.factories import make_finished_run, make_run

pytestmark = pytest.mark.django_db


def asked(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get(reverse("health"))
    return answer.status_code, answer.json()


def test_all_is_well(client: Client) -> None:
    code, said = asked(client)
    assert (code, said["status"]) == (200, "ok")
    assert set(said["parts"]) == {"database", "broker", "migrations", "workers"}
    assert client.get(reverse("health_live")).json() == {"status": "ok"}


def test_a_database_that_is_away_is_told_and_nothing_else_asked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise DatabaseError("connection refused at 10.0.0.1")

    monkeypatch.setattr(health.connection, "cursor", away)
    monkeypatch.setattr(health.connection, "close", lambda: None)
    code, said = asked(client)
    assert (code, said["status"]) == (503, "down")
    assert set(said["parts"]) == {"database", "broker"}
    assert "10.0.0.1" not in json.dumps(said)


def test_migrations_that_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    health._migrated.cache_clear()
    monkeypatch.setattr(health, "_count_waiting", lambda: 2)
    code, said = asked(client)
    assert (code, said["parts"]["migrations"]["state"]) == (503, "down")
    assert "workers" not in said["parts"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1"])
def test_a_broker_that_is_away_only_slows(client: Client, settings: Any, url: str) -> None:
    settings.DRAMATIQ_BROKER_URL = url
    code, said = asked(client)
    assert (code, said["status"], said["parts"]["broker"]["state"]) == (200, "degraded", "degraded")


def test_work_without_a_worker(client: Client) -> None:
    run = make_run(name="waits", state="running")
    Task.objects.create(run=run, lane="verify@judge", unit_id=1)
    assert asked(client)[1]["parts"]["workers"]["state"] == "degraded"
    now = timezone.now()
    lease = PumpLease.objects.create(lane="verify@judge", slot=0, owner="host:1:1", started_at=now, expires_at=now)
    assert asked(client)[1]["parts"]["workers"]["state"] == "degraded"  # that one is dead
    PumpLease.objects.filter(pk=lease.pk).update(expires_at=now + timedelta(minutes=1))
    assert asked(client)[1]["parts"]["workers"]["state"] == "ok"
    PumpLease.objects.all().delete()
    Task.objects.update(not_before=now + timedelta(minutes=1))
    assert asked(client)[1]["parts"]["workers"]["state"] == "ok"


def scraped(client: Client, token: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get(reverse("metrics"), headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a series twice"
            found[key] = sample.value
    return found


def test_metrics_are_for_those_with_the_token(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REASONMED_METRICS_TOKEN", raising=False)
    assert client.get(reverse("metrics")).status_code == 401
    assert client.get(reverse("metrics"), headers={"Authorization": "Bearer "}).status_code == 401
    monkeypatch.setenv("REASONMED_METRICS_TOKEN", "right")
    assert client.get(reverse("metrics"), headers={"Authorization": "Bearer wröng"}).status_code == 401


def test_metrics_are_the_counters(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setenv("REASONMED_METRICS_TOKEN", "right")
    run = make_finished_run(4, name='four "quoted"')
    build_queue(run=run, name="q", plan=SamplingPlan())
    now = timezone.now()
    for slot, expires_at in enumerate((now, now + timedelta(hours=1), now + timedelta(hours=1))):
        PumpLease.objects.create(lane="verify@judge", slot=slot, owner="o", started_at=now, expires_at=expires_at)
    with django_assert_max_num_queries(16):
        found = scraped(client, "right")
    counters = run_counters(run)
    of_run = ("run", run.name)
    assert found["reasonmed_records", frozenset({of_run})] == counters["records"]
    assert found["reasonmed_tier_questions", frozenset({of_run, ("tier", "easy")})] == counters["tier:easy"]
    assert (
        found["reasonmed_questions", frozenset({of_run, ("state", "ready"), ("reason", "")})]
        == counters["state:ready:"]
    )
    assert found["reasonmed_pumps", frozenset({("lane", "verify@judge"), ("state", "live")})] == 2
    assert found["reasonmed_pumps", frozenset({("lane", "verify@judge"), ("state", "lapsed")})] == 1
    assert found["reasonmed_review_queues", frozenset({("state", "open")})] == 1
    assert found["reasonmed_database_bytes", frozenset()] > 0


def test_a_log_line_is_one_object() -> None:
    try:
        raise ValueError("line\nbreak")
    except ValueError:
        record = logging.getLogger("workers.pump").makeRecord(
            "workers.pump",
            logging.ERROR,
            __file__,
            1,
            "call of %s\nfailed",
            ("judge",),
            sys.exc_info(),
            extra={"run": 7},
        )
    line = JsonLines().format(record)
    said = json.loads(line)
    assert "\n" not in line
    assert (said["message"], said["run"], said["level"]) == ("call of judge\nfailed", 7, "ERROR")
    assert "ValueError" in said["traceback"]


@pytest.mark.parametrize("file", ["reasonmed.json", "alerts.yml"])
def test_dashboard_and_alerts_ask_for_metrics_and_labels_that_there_are(file: str) -> None:
    run = make_run(name="counted", state="running")
    RunBudget.objects.update_or_create(run=run, defaults={"hard": 10})
    for key in (*metrics.COUNTED, *(f"{prefix}x" for prefix in metrics.PREFIXED), "state:waiting:verify"):
        RunCounter.objects.create(run=run, key=key, value=1)
    there: dict[str, set[str]] = {}
    for family in metrics.LedgerCollector().collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        there[name] = set(family._labelnames) | {label for sample in family.samples for label in sample.labels}
    asked = expressions((settings.BASE_DIR / "docker" / "grafana" / file).read_text())
    assert len(asked) >= 8
    for expression in asked:
        named = re.findall(r"(reasonmed_\w+)(?:\{([^}]*)\})?", expression)
        assert named or expression.startswith("up{")
        for name, chosen in named:
            assert set(re.findall(r"(\w+)=", chosen)) <= there[name], expression
        for labels in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            for name, _ in named:
                assert set(labels.split(", ")) <= there[name], expression


def expressions(text: str) -> list[str]:
    """Of a Grafana dashboard, or of Prometheus' rules."""
    if text.startswith("{"):
        return [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
