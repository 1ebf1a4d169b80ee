"""A pilot: a few questions of a run to be, drawn by its seed, from whose cost that of all is told with an interval."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.pipeline.config import RunConfig
from apps.pipeline.money import money_of
from apps.pipeline.services import RunError, create_run
from apps.questions.models import Project
from apps.reasoning.models import QuestionState, Run, RunQuestion
from apps.reasoning.selectors import run_counters

RESAMPLES = 4_000
LARGEST = 2_000  # questions; more is a run, not a pilot


@dataclass(frozen=True, slots=True)
class Interval:
    low: Decimal
    expected: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Outlook:
    """What `questions` questions would take, going by `piloted` ones. `cost` is None where no price is set."""

    piloted: int
    questions: int
    tiers: tuple[str, ...]  # of the questions piloted
    unfinished: int
    calls: int
    all_calls: int
    all_tokens_in: int
    all_tokens_out: int
    currency: str
    cost: Interval | None
    per_question: Decimal
    unpriced: tuple[str, ...]


def make_pilot(
    *,
    project: Project,
    name: str,
    config: RunConfig,
    questions: int,
    paths_from: Run | None = None,
    allow_held_out: bool = False,
) -> Run:
    """The run that tries so many questions of those `config` chooses. One of the same name is taken up again when it
    tries as many of the same configuration. Raises RunError."""
    if not 2 <= questions <= LARGEST:
        raise RunError(f"A pilot tries 2 to {LARGEST:,} questions.")
    sample = min(questions, config.questions.sample or questions)
    wanted = config.model_copy(update={"questions": config.questions.model_copy(update={"sample": sample})})
    found = Run.objects.filter(project=project, name=name).first()
    if found is None:
        return create_run(
            project=project, name=name, config=wanted, paths_from=paths_from, allow_held_out=allow_held_out
        )
    judged = paths_from is not None
    same = _told(found.config, judged=judged) == _told(wanted.model_dump(mode="json"), judged=judged)
    if not same or found.paths_from != paths_from:
        raise RunError(f"{name!r} is there already, of another configuration. Choose another --name.")
    return found


def _told(config: dict[str, object], *, judged: bool) -> dict[str, object]:
    """What a person says of a run: prompts are filled in at creation, and so are the generators that wrote what is
    judged."""
    filled_in = ("prompts", "paths_from", "generators", "endpoints") if judged else ("prompts", "paths_from")
    return {key: value for key, value in config.items() if key not in filled_in}


def outlook_of(pilot: Run, *, questions: int) -> Outlook:
    rows = list(RunQuestion.objects.filter(run=pilot).values_list("cost", "tier", "state"))
    counters = run_counters(pilot)
    money = money_of(pilot)
    costs = [cost for cost, _, _ in rows]
    scale = questions / len(rows)

    def whole(prefix: str) -> int:
        return round(scale * sum(n for key, n in counters.items() if key.startswith(prefix)))

    return Outlook(
        piloted=len(rows),
        questions=questions,
        tiers=tuple(tier for _, tier, _ in rows),
        unfinished=sum(state == QuestionState.WAITING for _, _, state in rows),
        calls=counters.get("calls", 0),
        all_calls=round(scale * counters.get("calls", 0)),
        all_tokens_in=whole("tokens_in:"),
        all_tokens_out=whole("tokens_out:"),
        currency=money.currency,
        cost=extrapolate(costs, questions, seed=pilot.config["seed"]) if money.priced else None,
        per_question=sum(costs, Decimal(0)) / len(costs),
        unpriced=money.unpriced,
    )


def extrapolate(costs: Sequence[Decimal], questions: int, *, seed: int) -> Interval:
    """The cost of all, with a 95 % interval: means of the pilot's questions drawn again and again (bootstrap), spread by
    √(n / (n − 1)) because a few questions differ less from their own mean than from that of all."""
    n = len(costs)
    mean = sum(costs, Decimal(0)) / n
    draw = random.Random(seed)
    numbers = [float(cost) for cost in costs]
    means = sorted(math.fsum(draw.choices(numbers, k=n)) / n for _ in range(RESAMPLES))
    spread = math.sqrt(n / (n - 1)) if n > 1 else 1.0

    def end(place: float) -> Decimal:
        away = Decimal(means[min(int(place * RESAMPLES), RESAMPLES - 1)]) - mean
        return max(mean + away * Decimal(spread), Decimal(0)) * questions

    cents = Decimal("1e-8")
    return Interval(*(value.quantize(cents) for value in (end(0.025), mean * questions, end(0.975))))
