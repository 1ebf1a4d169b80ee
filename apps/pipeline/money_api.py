"""API: what a run has cost, and what it may cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from apps.pipeline.budget import set_budget
from apps.pipeline.money import money_status
from apps.questions.api_access import Problem, curating, reading, signed_in
from apps.reasoning.api import run_named

router = Router(tags=["money"], auth=reading)


class ModelOut(Schema):
    endpoint: str
    model: str
    priced: bool = Field(description="False: no price is set, so its calls cost nothing in these sums")
    spent: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    terms: str = Field(description="Licence or terms of the model's output; empty: not stated")


class MoneyOut(Schema):
    """Amounts are decimal numbers in `currency`; null where nothing can be said."""

    run: str
    currency: str
    priced: bool = Field(description="At least one model has a price")
    unpriced_models: list[str]
    spent: str
    reserved: str = Field(description="Set aside for calls in flight, at the most they can cost")
    wasted: str = Field(description="Of what is spent: attempts that gave no output")
    unknown: str = Field(description="Of what is wasted: attempts whose sender died, at the most they can have cost")
    hard: str | None
    soft: str | None
    stopped_at: datetime | None = Field(description="When the hard budget paused the run")
    short_of: str | None = Field(description="What the call can cost that did not fit")
    by_stage: dict[str, str]
    by_model: list[ModelOut]
    by_tier: dict[str, str]
    per_record: str | None
    per_ready_question: str | None
    to_finish: str | None = Field(description="A forecast")


class BudgetIn(Schema):
    hard: Decimal | None = Field(ge=0, max_digits=14, decimal_places=4, description="Stops the run; null: no limit")
    soft: Decimal | None = Field(None, ge=0, max_digits=14, decimal_places=4, description="Warns; null: no warning")


@router.get("/runs/{run}/money", response={200: MoneyOut, 404: Problem}, summary="What a run has cost")
def read_money(request: HttpRequest, run: str) -> dict[str, Any]:
    return money_status(run_named(request, run))


@router.put(
    "/runs/{run}/budget",
    auth=curating,
    response={200: MoneyOut, 404: Problem, 422: Problem},
    summary="Set what a run may cost",
)
def put_budget(request: HttpRequest, run: str, body: BudgetIn) -> Any:
    """A run that the old budget paused stays paused until it is resumed."""
    found = run_named(request, run)
    if found.config.get("imported"):
        return Status(422, {"detail": "A run that holds imported paths makes no calls and has no budget.", "field": ""})
    try:
        set_budget(run=found, hard=body.hard, soft=body.soft, by=signed_in(request))
    except ValueError as error:
        return Status(422, {"detail": str(error), "field": str(error).partition(":")[0]})
    return money_status(found)
