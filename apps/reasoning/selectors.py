"""Reads of a run's live state."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum

from apps.reasoning.models import Run, RunCounter, Tier

_MARK = """SELECT coalesce(sum(hashtextextended(key, 0)::numeric * value), 0)::text
FROM (SELECT key, sum(value) AS value FROM reasoning_runcounter WHERE run_id = %s GROUP BY key) c"""
E8 = Decimal("1e-8")  # `cost_e8` counters hold so much of the currency


def run_counters(run: Run) -> dict[str, int]:
    """Every counter of the run, its shards summed; zero ones left out."""
    rows = RunCounter.objects.filter(run=run).values_list("key").annotate(total=Sum("value"))
    return {key: total for key, total in rows if total}


def counters_with(counters: dict[str, int], prefix: str) -> dict[str, int]:
    """`state:waiting:` → {"verify": 3, …}"""
    return {key.removeprefix(prefix): value for key, value in counters.items() if key.startswith(prefix)}


def counters_mark(run: Run) -> str:
    """Another one when a counter of the run changed: what is worked out from narrow rows may be kept by it."""
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [run.pk])
        return f"{run.created_at.timestamp()}:{cursor.fetchone()[0]}"


def run_status(run: Run) -> dict[str, Any]:
    """The object `run_status --json` prints: counts, and cost as a decimal string."""
    counters = run_counters(run)
    return {
        "run": run.name,
        "state": run.state,
        "questions": counters.get("questions", 0),
        "tiers": {tier: counters.get(f"tier:{tier}", 0) for tier in Tier.values},
        "exported_ready": counters.get("state:ready:", 0),
        "excluded": counters_with(counters, "state:excluded:"),
        "waiting": counters_with(counters, "state:waiting:"),
        "records": counters.get("records", 0),
        "calls": counters.get("calls", 0),
        "failed_calls": sum(counters_with(counters, "failed:").values()),
        "workers": counters_with(counters, "worker:"),
        "cost": f"{counters.get('cost_e8', 0) * E8:f}",
    }
