"""What a run will take, before it starts: calls, tokens and money by stage and model, and where each figure is from.

Tokens of a prompt are its characters / 4, from a sample of the questions chosen; tokens of a reply come from
`apps.pipeline.figures`. `most` takes every reply at its cap. Repeated attempts and cached tokens are not foreseen.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from django.db.models import QuerySet

from apps.pipeline.config import EndpointConfig, RunConfig
from apps.pipeline.figures import Errors, Figure, error_shares, reply_figures
from apps.pipeline.lanes import STAGES
from apps.pipeline.prompt_tokens import (
    Lane,
    Sizes,
    Tokens,
    lanes_with_shares,
    later_outputs,
    measure_questions,
    path_figure,
    tokens_sent,
)
from apps.questions.models import Project, Question
from apps.reasoning.models import Run
from apps.reasoning.words import stage_word

SAMPLE = 500  # questions read for the length of prompts
FIRST = ("generate", "verify")  # stages whose calls are known: one a path
TIERS = ("easy", "medium", "difficult")


@dataclass(frozen=True, slots=True)
class Calls:
    expected: int
    most: int


@dataclass(frozen=True, slots=True)
class Cost:
    low: Decimal
    expected: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Source:
    """`figure` in words, and where it comes from."""

    what: str
    figure: str
    source: str


@dataclass(frozen=True, slots=True)
class Line:
    """A stage on an endpoint; `cost` is None where no price is set."""

    stage: str
    endpoint: str
    model: str
    calls: Calls
    tokens_in: int  # expected, of all its calls
    tokens_out: int
    cost: Cost | None
    share: float  # of the stage's calls
    each: Decimal  # what a call is expected to cost, and at most
    dearest: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of one stage, or of one model, together. `partly`: some have no price; their calls are not in `cost`."""

    name: str
    calls: Calls
    cost: Cost | None
    partly: bool

    @property
    def exact(self) -> bool:
        """Of a stage: its calls do not depend on labels."""
        return self.name in FIRST


@dataclass(frozen=True, slots=True)
class Estimate:
    """`calls.most` and `cost.most` take the dearest kind of question for every question; they are no sums of lines,
    because no question is both refined and regenerated."""

    questions: int
    currency: str
    lines: tuple[Line, ...]
    calls: Calls
    cost: Cost | None
    errors: tuple[float, ...]  # expected shares of questions with 0 … paths errors
    tiers: tuple[tuple[str, float], ...]  # the same by tier
    sources: tuple[Source, ...]

    @property
    def stages(self) -> list[Part]:
        return [_together(stage, found) for stage in STAGES if (found := [x for x in self.lines if x.stage == stage])]

    @property
    def models(self) -> list[Part]:
        names = dict.fromkeys(line.model for line in self.lines)
        return [_together(name, [line for line in self.lines if line.model == name]) for name in names]

    @property
    def unpriced(self) -> list[str]:
        """Models without a price."""
        return list(dict.fromkeys(line.model for line in self.lines if line.cost is None))


def estimate_run(
    *, project: Project, config: RunConfig, picked: QuerySet[Question], paths_from: Run | None = None
) -> Estimate:
    """Of a run over the questions `picked` (`services.pick_questions`)."""
    return _estimate(project, config, list(picked.values_list("pk", flat=True)), paths_from)


def output_costs(run: Run) -> dict[str, Decimal]:
    """{stage: what an output is expected to cost}; nothing where there is no price."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for line in estimate_of(run.pk, run.config_hash).lines:
        costs[line.stage] += line.each * Decimal(str(line.share))
    return costs


@lru_cache(maxsize=64)
def estimate_of(run_id: int, _config_hash: str) -> Estimate:
    """Of a run that is there, as it was made; worked out once in a process."""
    run = Run.objects.select_related("project", "paths_from").get(pk=run_id)
    ids = list(run.questions.values_list("question_id", flat=True))
    return _estimate(run.project, RunConfig.model_validate(run.config), ids, run.paths_from)


def _estimate(project: Project, config: RunConfig, ids: Sequence[int], paths_run: Run | None) -> Estimate:
    generates = paths_run is None and not config.imported
    lanes = lanes_with_shares(config, generates=generates)
    figures = reply_figures(project, config, [lane.key for lane in lanes])
    errors = error_shares(project, config)
    sizes = measure_questions(random.Random(config.seed).sample(ids, min(len(ids), SAMPLE)))
    path = path_figure(config, figures, lanes, paths_run)
    reason = figures["verify", config.judge.endpoint]
    wanted = [later_outputs(config, n) for n in range(config.paths_per_question + 1)]
    lines = []
    for lane in lanes:
        sent = tokens_sent(lane, config, sizes, path, reason, errors)
        figure = figures[lane.key]
        back = Tokens(min(figure.low, lane.cap), min(figure.mean, lane.cap), lane.cap)
        calls = _calls(lane, config, len(ids), wanted, errors)
        lines.append(_line(lane, config.endpoint(lane.endpoint), calls, sent, back))
    return Estimate(
        questions=len(ids),
        currency=config.currency,
        lines=tuple(lines),
        calls=_all_calls(len(ids), lines, wanted),
        cost=_whole_cost(len(ids), lines, wanted),
        errors=errors.shares,
        tiers=_tier_shares(config, errors),
        sources=_sources(config, lanes, figures, sizes, path, errors),
    )


def _calls(lane: Lane, config: RunConfig, n: int, wanted: Sequence[Mapping[str, int]], errors: Errors) -> Calls:
    if lane.stage in FIRST:
        known = round(n * config.paths_per_question * lane.share)
        return Calls(known, known)
    each = sum(share * outputs[lane.stage] for share, outputs in zip(errors.shares, wanted, strict=True))
    return Calls(round(n * each), n * max(outputs[lane.stage] for outputs in wanted))


def _line(lane: Lane, endpoint: EndpointConfig, calls: Calls, sent: Tokens, back: Tokens) -> Line:
    tokens_in, tokens_out = round(calls.expected * sent.mean), round(calls.expected * back.mean)
    each = endpoint.cost(round(sent.mean), round(back.mean))
    dearest = endpoint.cost(math.ceil(sent.most), math.ceil(back.most))
    cost = None
    if not endpoint.free:
        low = endpoint.cost(math.floor(calls.expected * sent.low), math.floor(calls.expected * back.low))
        cost = Cost(low, endpoint.cost(tokens_in, tokens_out), calls.most * dearest)
    return Line(
        lane.stage, lane.endpoint, endpoint.model, calls, tokens_in, tokens_out, cost, lane.share, each, dearest
    )


def _all_calls(n: int, lines: Sequence[Line], wanted: Sequence[Mapping[str, int]]) -> Calls:
    expected = sum(x.calls.expected for x in lines)
    first = sum(x.calls.most for x in lines if x.stage in FIRST)
    return Calls(expected, max(first + n * max(sum(outputs.values()) for outputs in wanted), expected))


def _whole_cost(n: int, lines: Sequence[Line], wanted: Sequence[Mapping[str, int]]) -> Cost | None:
    priced = [line for line in lines if line.cost is not None]
    if not priced:
        return None
    first = sum((x.cost.most for x in priced if x.cost and x.stage in FIRST), Decimal(0))
    later = {line.stage: line.dearest for line in priced if line.stage not in FIRST}
    worst = max(sum((outputs[s] * later[s] for s in later), Decimal(0)) for outputs in wanted)
    low = sum((x.cost.low for x in priced if x.cost), Decimal(0))
    expected = sum((x.cost.expected for x in priced if x.cost), Decimal(0))
    return Cost(low, expected, max(first + n * worst, expected))  # of one question, rounded calls can be too many


def _together(name: str, lines: Sequence[Line]) -> Part:
    costs = [line.cost for line in lines if line.cost is not None]
    cost = None
    if costs:
        cost = Cost(
            sum((c.low for c in costs), Decimal(0)),
            sum((c.expected for c in costs), Decimal(0)),
            sum((c.most for c in costs), Decimal(0)),
        )
    calls = Calls(sum(x.calls.expected for x in lines), sum(x.calls.most for x in lines))
    return Part(name, calls, cost, bool(costs) and len(costs) < len(lines))


def _tier_shares(config: RunConfig, errors: Errors) -> tuple[tuple[str, float], ...]:
    easy, medium = config.cutoffs.easy + 1, config.cutoffs.medium + 1
    cuts = (errors.shares[:easy], errors.shares[easy:medium], errors.shares[medium:])
    return tuple((tier, sum(shares)) for tier, shares in zip(TIERS, cuts, strict=True))


def _sources(
    config: RunConfig,
    lanes: Sequence[Lane],
    figures: Mapping[tuple[str, str], Figure],
    sizes: Sizes,
    path: Figure,
    errors: Errors,
) -> tuple[Source, ...]:
    shares = ", ".join(f"{tier} {100 * share:.0f} %" for tier, share in _tier_shares(config, errors))
    length = f"{sizes.question / 4:,.0f} tokens a question"
    rows = [
        Source("Prompts", length, f"{sizes.read:,} of the questions chosen, 4 characters a token"),
        Source("Paths in prompts", f"{path.mean:,} tokens", path.source),
        Source("Tiers", shares, errors.source),
    ]
    for lane in lanes:
        figure = figures[lane.key]
        model = config.endpoint(lane.endpoint).model
        rows.append(Source(f"{stage_word(lane.stage)}, {model}", f"{figure.mean:,} tokens a reply", figure.source))
    return tuple(rows)
