"""A run's money now: spent, set aside, wasted, still to come. Read from its counters and its RunBudget alone.

Every sum is exact (Decimal, eight places). What is still to come is a guess: outputs expected × what one has cost so
far, or, before a stage has made enough of them, what `estimate` expects one to cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.pipeline.config import EndpointConfig, RunConfig
from apps.pipeline.forecast import Forecast, Span, forecast_of
from apps.pipeline.lanes import STAGES, lanes_of
from apps.pipeline.models import RunBudget
from apps.reasoning.models import Run, RunState, Tier
from apps.reasoning.selectors import E8, run_counters

Counters = Mapping[str, int]
ENDED = (RunState.FINISHED, RunState.CANCELLED)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class StageMoney:
    """`to_finish` is None where nothing can be said: no price is set. `guessed`: it rests on the estimate's tokens,
    because the stage has made too few outputs to tell what one costs."""

    stage: str
    priced: bool
    spent: Decimal
    outputs: int
    expected: int  # outputs in all
    per_output: Decimal | None
    to_finish: Decimal | None
    guessed: bool


@dataclass(frozen=True, slots=True)
class ModelMoney:
    endpoint: EndpointConfig
    stages: tuple[str, ...]
    spent: Decimal
    tokens_in: int
    tokens_out: int
    tokens_cached: int

    @property
    def priced(self) -> bool:
        return not self.endpoint.free


@dataclass(frozen=True, slots=True)
class TierMoney:
    """`tier` is empty for questions without one yet."""

    tier: str
    questions: int
    spent: Decimal

    @property
    def per_question(self) -> Decimal | None:
        return self.spent / self.questions if self.questions else None


@dataclass(frozen=True, slots=True)
class RunMoney:
    """`spent` holds every attempt, `wasted` those of them that gave no output, `unknown` those of these whose sender
    died before the reply was booked, at the most they can have cost. `reserved` is set aside for calls in flight."""

    currency: str
    priced: bool  # at least one endpoint has a price
    unpriced: tuple[str, ...]  # models without one: their calls are in no sum
    spent: Decimal
    reserved: Decimal
    wasted: Decimal
    unknown: Decimal
    hard: Decimal | None
    soft: Decimal | None
    stopped_at: datetime | None
    short_of: Decimal | None
    stages: tuple[StageMoney, ...]
    models: tuple[ModelMoney, ...]
    tiers: tuple[TierMoney, ...]
    questions: int
    ready: int
    records: int
    to_finish: Span | None  # None: no price is set, or the run has ended
    elapsed: float | None  # seconds at work, while it runs

    @property
    def left(self) -> Decimal | None:
        """Of the hard budget, beside what is set aside."""
        return None if self.hard is None else max(self.hard - self.spent - self.reserved, ZERO)

    @property
    def missing(self) -> Decimal | None:
        """By how much the call that stopped the run does not fit."""
        return None if self.short_of is None or self.left is None else self.short_of - self.left

    @property
    def used(self) -> Decimal | None:
        """Share of the hard budget that is spent or set aside; more than 1 after it was lowered."""
        return (self.spent + self.reserved) / self.hard if self.hard else None

    @property
    def soft_passed(self) -> bool:
        return self.soft is not None and self.spent > 0 and self.spent >= self.soft

    @property
    def short(self) -> bool:
        """The hard budget paused the run, and it is still too small for the next call."""
        return self.stopped_at is not None

    @property
    def per_record(self) -> Decimal | None:
        return self.spent / self.records if self.records else None

    @property
    def per_ready(self) -> Decimal | None:
        return self.spent / self.ready if self.ready else None

    @property
    def in_all(self) -> Span | None:
        """Spent and to finish."""
        return self.to_finish.plus(self.spent) if self.to_finish else None

    @property
    def not_set_aside(self) -> Decimal:
        """Of what is to finish; what is set aside belongs to it."""
        return max(self.to_finish.expected - self.reserved, ZERO) if self.to_finish else ZERO

    @property
    def committed(self) -> Decimal:
        return self.spent + self.reserved

    @property
    def scale(self) -> Decimal:
        """What the bar of the whole is as long as."""
        ends = (self.hard, self.soft, self.committed + self.not_set_aside)
        return max(end for end in ends if end is not None)

    @property
    def lasts(self) -> Decimal | None:
        """Share of the whole work that the hard budget pays for, where it does not pay for all."""
        whole = self.in_all
        if self.hard is None or whole is None or whole.expected <= self.hard:
            return None
        return self.hard / whole.expected

    @property
    def lasts_seconds(self) -> float | None:
        """Until the hard budget is spent at the mean pace so far, where it does not pay for all."""
        if self.lasts is None or self.hard is None or not self.elapsed or not self.spent:
            return None
        return float(max(self.hard - self.spent, ZERO) / self.spent) * self.elapsed

    @property
    def guesses(self) -> bool:
        """Whether any stage's forecast rests on the estimate."""
        return any(row.guessed and row.priced for row in self.stages)


def money_of(run: Run, counters: Counters | None = None) -> RunMoney:
    """Two queries, one when the counters are at hand; a first one of a run with prices also works out its estimate."""
    found = run_counters(run) if counters is None else counters
    config = RunConfig.model_validate(run.config)
    budget = RunBudget.objects.filter(pk=run.pk).first() or RunBudget(run=run)
    used = _used_endpoints(config)
    priced = {name for name in used if not config.endpoint(name).free}
    forecast = forecast_of(run, config, found) if priced and run.state not in ENDED else None
    return RunMoney(
        currency=config.currency,
        priced=bool(priced),
        unpriced=tuple(config.endpoint(name).model for name in used if name not in priced),
        spent=_amount(found, "cost_e8"),
        reserved=budget.reserved,
        wasted=_amount(found, "cost_e8:wasted"),
        unknown=_amount(found, "cost_e8:unknown"),
        hard=budget.hard,
        soft=budget.soft,
        stopped_at=budget.stopped_at,
        short_of=budget.short_of,
        stages=_stages(config, found, priced, forecast),
        models=_models(config, found, used),
        tiers=tuple(
            TierMoney(tier, _questions_of(found, tier), _amount(found, f"cost_e8:tier:{tier or 'none'}"))
            for tier in (*Tier.values, "")
        ),
        questions=found.get("questions", 0),
        ready=found.get("state:ready:", 0),
        records=found.get("records", 0),
        to_finish=forecast.total if forecast else None,
        elapsed=_seconds(run),
    )


def has_prices(config: Mapping[str, Any]) -> bool:
    """Whether any endpoint of a `Run.config` has a price."""
    prices = ("price_in", "price_out", "price_cached")
    return any(Decimal(e.get(name) or 0) for e in config.get("endpoints", ()) for name in prices)


def money_status(run: Run) -> dict[str, Any]:
    """What `run_status` prints of it and the API answers: decimal strings, None where nothing can be said."""
    now = money_of(run)
    return {
        "run": run.name,
        "currency": now.currency,
        "priced": now.priced,
        "unpriced_models": list(now.unpriced),
        "spent": f"{now.spent:f}",
        "reserved": f"{now.reserved:f}",
        "wasted": f"{now.wasted:f}",
        "unknown": f"{now.unknown:f}",
        "hard": _text(now.hard),
        "soft": _text(now.soft),
        "stopped_at": now.stopped_at,
        "short_of": _text(now.short_of),
        "by_stage": {s.stage: f"{s.spent:f}" for s in now.stages},
        "by_model": [
            {
                "endpoint": m.endpoint.name, "model": m.endpoint.model, "priced": m.priced, "spent": f"{m.spent:f}",
                "tokens_in": m.tokens_in, "tokens_out": m.tokens_out, "tokens_cached": m.tokens_cached,
                "terms": m.endpoint.terms,
            }
            for m in now.models
        ],
        "by_tier": {t.tier or "none": f"{t.spent:f}" for t in now.tiers},
        "per_record": _text(_cents(now.per_record)),
        "per_ready_question": _text(_cents(now.per_ready)),
        "to_finish": _text(_cents(now.to_finish.expected)) if now.to_finish else None,
    }  # fmt: skip


def _stages(config: RunConfig, found: Counters, priced: set[str], forecast: Forecast | None) -> tuple[StageMoney, ...]:
    lanes = [lane.split("@") for lane in lanes_of(config)]
    rows = []
    for stage in STAGES:
        served = [endpoint for name, endpoint in lanes if name == stage]
        if not served:
            continue
        guess = forecast.stages.get(stage) if forecast else None
        outputs = found.get(f"stage:{stage}", 0)
        spent = _amount(found, f"cost_e8:stage:{stage}")
        costs = bool(priced.intersection(served))
        rows.append(
            StageMoney(
                stage=stage,
                priced=costs,
                spent=spent,
                outputs=outputs,
                expected=guess.expected if guess else outputs,
                per_output=spent / outputs if costs and outputs else None,
                to_finish=guess.to_finish if guess and costs else None,
                guessed=bool(guess and guess.guessed),
            )
        )
    return tuple(rows)


def _models(config: RunConfig, found: Counters, used: dict[str, list[str]]) -> tuple[ModelMoney, ...]:
    return tuple(
        ModelMoney(
            config.endpoint(name),
            tuple(stages),
            _amount(found, f"cost_e8:endpoint:{name}"),
            *(found.get(f"tokens_{kind}:{name}", 0) for kind in ("in", "out", "cached")),
        )
        for name, stages in used.items()
    )


def _used_endpoints(config: RunConfig) -> dict[str, list[str]]:
    """{endpoint: its stages}, in the order of the pipeline."""
    used: dict[str, list[str]] = {}
    for lane in lanes_of(config):
        stage, endpoint = lane.split("@")
        used.setdefault(endpoint, []).append(stage)
    return used


def _questions_of(found: Counters, tier: str) -> int:
    if tier:
        return found.get(f"tier:{tier}", 0)
    return found.get("questions", 0) - sum(found.get(f"tier:{t}", 0) for t in Tier.values)


def _amount(found: Counters, key: str) -> Decimal:
    return found.get(key, 0) * E8


def _cents(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else amount.quantize(E8)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _seconds(run: Run) -> float | None:
    if run.started_at is None or run.state != RunState.RUNNING:
        return None
    return (timezone.now() - run.started_at).total_seconds()
