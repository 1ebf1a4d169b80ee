"""Runs with prices and a ledger written the way a pump writes it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from apps.pipeline.budget import settle
from apps.pipeline.config import default_config
from apps.pipeline.outputs import CallOut
from apps.pipeline.store import _write_calls
from apps.questions.models import Question
from apps.reasoning.models import Run, RunCounter
from apps.reasoning.services import add_counters, lock_questions
from tests.factories import make_question, make_run, make_run_question

PRICES = {"price_in": "1", "price_out": "2", "price_cached": "0.5"}


def priced(*names: str, **fields: Any) -> dict[str, Any]:
    """The published set-up, with prices on the endpoints named (on all when none is)."""
    config = default_config()
    config["endpoints"] = [e | (PRICES if not names or e["name"] in names else {}) for e in config["endpoints"]]
    return config | fields


def priced_run(questions: int = 2, *names: str, state: str = "running", **fields: Any) -> tuple[Run, list[Question]]:
    run = make_run(config=priced(*names, **fields), state=state)
    rows = [make_question() for _ in range(questions)]
    for question in rows:
        make_run_question(run, question)
    RunCounter.objects.create(run=run, key="questions", value=questions)
    return run, rows


def call(run: Run, question: Question, stage: str, endpoint: str, cost: str | Decimal, **fields: Any) -> CallOut:
    defaults = {"tokens_in": 1000, "tokens_out": 200, "tokens_cached": 100, "status": "ok"}
    return CallOut(
        run=run.pk, question=question.pk, stage=stage, item=f"{uuid.uuid4()}", endpoint=endpoint, model=f"sim-{endpoint}",
        prompt="", params={}, seed=None, attempt=1, created_at=timezone.now(), cost=Decimal(cost), **(defaults | fields),
    )  # fmt: skip


@transaction.atomic
def write(run: Run, calls: Sequence[CallOut]) -> None:
    """Calls and what they cost, as `store.flush` writes them."""
    with connection.cursor() as cursor:
        lock_questions(run=run, question_ids={c.question for c in calls})
        change = _write_calls(cursor, calls)
        change.update(settle(cursor, run_id=run.pk, calls=calls))
    add_counters(run_id=run.pk, change=change)


def count(run: Run, values: Mapping[str, int]) -> None:
    """Add to the run's counters."""
    with transaction.atomic():
        add_counters(run_id=run.pk, change=values)
