"""A run whose every stage is on a Batch API at the simulator, and one pump to turn it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from apps.pipeline.config import EndpointConfig, default_config, parse_config
from apps.pipeline.models import BatchJob, Call, PumpLease, Reservation, Task
from apps.pipeline.services import create_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Run
from tests.factories import make_project, make_question
from workers.batch.pump import BatchPump
from workers.simulated.running import RunningSimulator

NEVER = threading.Event().is_set
LANE = "generate@qwen2.5-72b"
SAMPLES = 3  # of one generator a question


def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BATCH_POLL_S, settings.BATCH_GATHER_S = 0.04, 0.04
    monkeypatch.setattr("workers.batch.pump.IDLE_S", 0.2)
    monkeypatch.setattr("workers.batch.pump.REFUSED_PAUSE_S", 0.05)


def batch_config(*names: str, **fields: Any) -> dict[str, Any]:
    """The default configuration with these endpoints (all, where none is named) on the Batch API, priced."""
    priced = {"transport": "batch", "price_in": "1.25", "price_out": "5", **fields}
    endpoints = [{**e, **(priced if not names or e["name"] in names else {})} for e in default_config()["endpoints"]]
    return {**default_config(), "endpoints": endpoints}


def batch_run(questions: int = 4, *, budget: dict[str, Any] | None = None, **fields: Any) -> Run:
    for number in range(questions):
        make_question(stem=f"Case {number}: which measure comes first, given sign {number}?", key=number % 4)
    data = batch_config(**fields)
    run = create_run(
        project=make_project(), name="batched", config=parse_config({**data, **({"budget": budget} if budget else {})})
    )
    start_run(run=run)
    return run


def turn(models: RunningSimulator, lane: str = LANE, stop: Callable[[], bool] = NEVER) -> bool:
    def resolve(endpoint: EndpointConfig) -> str:
        return models.base_url

    return BatchPump(lane, resolve, stop).run()


def assert_told_once(run: Run, models: RunningSimulator) -> None:
    """What the provider did is in the books, once, and no more than that."""
    done = sum(batch.completed for batch in models.simulator.batches.batches.values())
    billed = Call.objects.filter(run=run, cost__gt=0)
    assert billed.count() == done
    run.money.refresh_from_db()
    assert run.money.spent == sum(call.cost for call in billed)
    assert run.money.reserved == 0
    assert not Reservation.objects.exists()
    assert check_run(run) == []


def assert_at_rest(run: Run) -> None:
    assert not BatchJob.objects.filter(run=run, state__in=("prepared", "submitted")).exists()
    assert not PumpLease.objects.exists()
    assert not Task.objects.filter(run=run, lane=LANE).exclude(state="idle").exists()


def paths(run: Run) -> int:
    return ReasoningPath.objects.filter(run=run).count()
