"""What a run will still spend: outputs expected of each stage × what one of them has cost so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.pipeline.config import RunConfig
from apps.pipeline.estimate import estimate_of, output_costs
from apps.pipeline.figures import ENOUGH
from apps.pipeline.lanes import STAGES
from apps.pipeline.prompt_tokens import lanes_with_shares, later_outputs
from apps.reasoning.models import Run
from apps.reasoning.selectors import E8

Counters = Mapping[str, int]
ZERO = Decimal(0)
Z95 = Decimal("1.96")


@dataclass(frozen=True, slots=True)
class Span:
    """`low` and `high` are the ends of a 95 % interval, None where nothing honest can be said of it."""

    low: Decimal | None
    expected: Decimal
    high: Decimal | None

    def plus(self, amount: Decimal) -> Span:
        return Span(
            None if self.low is None else self.low + amount,
            self.expected + amount,
            None if self.high is None else self.high + amount,
        )


@dataclass(frozen=True, slots=True)
class StageForecast:
    """`expected`: outputs in all. `guessed`: what one costs is the estimate's, not this run's."""

    expected: int
    to_finish: Decimal
    guessed: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    stages: dict[str, StageForecast]
    total: Span


def forecast_of(run: Run, config: RunConfig, found: Counters) -> Forecast:
    """The interval speaks of the tiers that questions without one will get; it needs enough questions that have one,
    and what an output costs in each stage that is still to come."""
    generates = run.paths_from_id is None and not config.imported
    costs, guessed = _costs(run, config, found, generates=generates)
    questions = found.get("questions", 0)
    counts = [found.get(f"errors:{n}", 0) for n in range(config.paths_per_question + 1)]
    tiered = sum(counts)
    shares = [Decimal(n) / tiered for n in counts] if tiered >= ENOUGH else _foreseen(run)
    wanted = [later_outputs(config, n) for n in range(config.paths_per_question + 1)]
    stages: dict[str, StageForecast] = {}
    for stage in STAGES if generates else STAGES[1:]:
        done = found.get(f"stage:{stage}", 0)
        if stage in ("generate", "verify"):
            total = questions * config.paths_per_question
        else:
            known = sum(n * outputs[stage] for n, outputs in zip(counts, wanted, strict=True))
            each = sum((share * outputs[stage] for share, outputs in zip(shares, wanted, strict=True)), ZERO)
            total = known + round((questions - tiered) * each)
        left = max(total - done, found.get(f"state:waiting:{stage}", 0), 0)
        spend = _generating(config, found, left) if stage == "generate" and stage not in guessed else None
        stages[stage] = StageForecast(
            done + left, left * costs.get(stage, ZERO) if spend is None else spend, stage in guessed
        )
    expected = sum((s.to_finish for s in stages.values()), ZERO)
    half = None
    if tiered >= ENOUGH and not guessed.intersection(s for s in stages if stages[s].to_finish):
        half = _half_width(questions - tiered, tiered, shares, [_worth(outputs, costs) for outputs in wanted])
    low, high = (None, None) if half is None else (max(expected - half, ZERO), expected + half)
    return Forecast(stages, Span(low, expected, high))


def _costs(run: Run, config: RunConfig, found: Counters, *, generates: bool) -> tuple[dict[str, Decimal], set[str]]:
    """What an output of each stage costs, and the stages where that is a guess; free stages are left out."""
    lanes = lanes_with_shares(config, generates=generates)
    priced = dict.fromkeys(lane.stage for lane in lanes if not config.endpoint(lane.endpoint).free)
    made = {stage: found.get(f"stage:{stage}", 0) for stage in priced}
    costs = {s: found.get(f"cost_e8:stage:{s}", 0) * E8 / made[s] for s in priced if made[s] >= ENOUGH}
    guessed = {stage for stage in priced if stage not in costs}
    if guessed:
        foreseen = output_costs(run)
        costs |= {stage: foreseen[stage] for stage in guessed}
    return costs, guessed


def _foreseen(run: Run) -> list[Decimal]:
    return [Decimal(str(share)) for share in estimate_of(run.pk, run.config_hash).errors]


def _generating(config: RunConfig, found: Counters, left: int) -> Decimal | None:
    """Generators advance each at its own pace and price. Where none of their endpoints does anything else, what is left
    of each is counted by its own calls; None where that cannot be told."""
    lanes = [lane for lane in lanes_with_shares(config, generates=True) if lane.stage == "generate"]
    others = {lane.endpoint for lane in lanes_with_shares(config, generates=False)}
    calls = {lane.endpoint: found.get(f"calls:generate@{lane.endpoint}", 0) for lane in lanes}
    if len(lanes) < 2 or others.intersection(calls) or min(calls.values()) < ENOUGH:
        return None
    done = found.get("stage:generate", 0)
    made = {name: Decimal(done) * n / sum(calls.values()) for name, n in calls.items()}
    total = done + left
    return sum(
        (
            max(total * Decimal(str(lane.share)) - made[lane.endpoint], ZERO)
            * found.get(f"cost_e8:endpoint:{lane.endpoint}", 0) * E8 / made[lane.endpoint]
            for lane in lanes
        ),
        ZERO,
    )  # fmt: skip


def _worth(outputs: Mapping[str, int], costs: Mapping[str, Decimal]) -> Decimal:
    return sum((n * costs.get(stage, ZERO) for stage, n in outputs.items()), ZERO)


def _half_width(untiered: int, seen: int, shares: Sequence[Decimal], worth: Sequence[Decimal]) -> Decimal:
    """Half of a 95 % interval for the sum over `untiered` questions, whose kinds are drawn as those of the `seen` ones."""
    mean = sum((s * w for s, w in zip(shares, worth, strict=True)), ZERO)
    variance = sum((s * (w - mean) ** 2 for s, w in zip(shares, worth, strict=True)), ZERO)
    return Z95 * (variance * (Decimal(untiered) ** 2 / seen + untiered)).sqrt()
