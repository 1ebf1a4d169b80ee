"""Sampling plans: which paths a queue holds, in which order, each with its chance of being chosen. Pure and seeded.

What a plan draws is in `drawing`: it sorts by a hash of (seed, id), so the same seed gives the same sample again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from apps.review.statistics.tiers import Cutoffs, tier_chances

Kind = Literal["random", "stratified", "contradictions", "tier_flip", "disagreement", "paths"]
Trait = Literal["benchmark", "tier", "generator", "label"]
OF_A_QUESTION: frozenset[str] = frozenset({"benchmark", "tier"})  # the others differ between paths of one question
WHOLE = "all"  # the stratum of a plan without strata


class PlanError(ValueError):
    """A plan that cannot be used, in words."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueueFilter(Frozen):
    """Which paths of the run may be drawn. Empty lists mean all; `labels` are the judge's."""

    benchmarks: tuple[str, ...] = ()
    tiers: tuple[Literal["easy", "medium", "difficult", ""], ...] = ()
    generators: tuple[str, ...] = ()
    labels: tuple[Literal["correct", "error", "unjudged", ""], ...] = ()
    error_counts: tuple[Annotated[int, Field(ge=0, le=30)], ...] = ()


class SamplingPlan(Frozen):
    """`size` counts paths, or questions where whole questions are drawn (`whole_questions`, and always for tier_flip).

    Calibration draws whole questions: the paths of one question are correlated. Plans that pick by what the ledger says
    (contradictions, tier_flip, disagreement, paths) have no inclusion probabilities and never feed a certificate.
    """

    kind: Kind = "random"
    size: Annotated[int, Field(ge=1, le=2_000_000)] = 100
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20260101
    by: tuple[Trait, ...] = ()
    allocation: Literal["equal", "proportional"] = "equal"
    whole_questions: bool = False
    filter: QueueFilter = QueueFilter()
    paths: tuple[int, ...] = ()  # for kind `paths`
    gold_share: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the finished queue
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.9  # of the judge, for tier_flip
    specificity: Annotated[float, Field(gt=0, le=1)] = 0.95

    @model_validator(mode="after")
    def check_kind(self) -> SamplingPlan:
        if (self.kind == "stratified") != bool(self.by):
            raise ValueError(
                "by: name what to stratify by (benchmark, tier, generator, label), for kind stratified alone"
            )
        if self.whole_questions and (mixed := set(self.by) - OF_A_QUESTION):
            raise ValueError(
                f"by: {', '.join(sorted(mixed))} differs within a question, so whole questions cannot be drawn"
            )
        if (self.kind == "paths") != bool(self.paths):
            raise ValueError("paths: list the ids for kind paths, and for no other kind")
        if self.whole_questions and self.kind not in ("random", "stratified"):
            raise ValueError("whole_questions: for kinds random and stratified")
        if self.kind == "tier_flip" and (self.filter.generators or self.filter.labels):
            raise ValueError("filter: tier_flip weighs all paths of a question, whichever model wrote them")
        if self.sensitivity + self.specificity <= 1:
            raise ValueError("sensitivity and specificity: a judge no better than chance tells nothing about tiers")
        return self

    @property
    def is_probability_sample(self) -> bool:
        return self.kind in ("random", "stratified")


def parse_plan(data: Mapping[str, Any]) -> SamplingPlan:
    """Raises PlanError, a line for each problem."""
    try:
        return SamplingPlan.model_validate(dict(data))
    except ValidationError as error:
        lines = [f"{'.'.join(str(p) for p in e['loc']) or 'plan'}: {e['msg']}" for e in error.errors()]
        raise PlanError("\n".join(lines)) from error


def allocate(sizes: Mapping[str, int], size: int, how: str = "equal") -> dict[str, int]:
    """How many of each stratum: none is left out, none gives more than it has, together min(size, all).

    Raises PlanError when there are more strata than places.
    """
    sizes = {stratum: n for stratum, n in sorted(sizes.items()) if n}
    if size < len(sizes):
        raise PlanError(f"size: {len(sizes)} strata need at least {len(sizes)} places, {size} are asked for")
    given = dict.fromkeys(sizes, 1)
    left = min(size, sum(sizes.values())) - len(given)
    while left > 0:
        room = [s for s in sizes if given[s] < sizes[s]]
        shares = {s: (sizes[s] if how == "proportional" else 1) for s in room}
        total = sum(shares.values())
        before = left
        for s in room:
            more = min(sizes[s] - given[s], before * shares[s] // total, left)
            given[s] += more
            left -= more
        if left == before:  # less than one place each: the largest first
            for s in sorted(room, key=lambda s: (-shares[s], s))[:left]:
                given[s] += 1
                left -= 1
    return given


def gold_places(items: int, gold: int, *, share: float, seed: int) -> list[int]:
    """Random places (1-based, ascending) for gold among `items` others, so that `share` of the result is gold.

    Fewer where there is not so much gold.
    """
    wanted = min(round(items * share / (1 - share)), gold)
    total, places, tried = items + wanted, set[int](), 0
    while len(places) < wanted:
        places.add(mix(seed, "place", tried) % total + 1)
        tried += 1
    return sorted(places)


@lru_cache(maxsize=4096)
def flip_value(
    errors: int,
    correct: int,
    *,
    easy: int,
    medium: int,
    sensitivity: float,
    specificity: float,
    prior: tuple[float, ...],
) -> float:
    """The chance that the question's true tier is not the one its judge's labels give.

    `prior`: the chance of 0, 1, … wrong paths in this run (`true_error_distribution`); what is left is unjudged.
    """
    unjudged = len(prior) - 1 - errors - correct
    labels = [True] * errors + [False] * correct + [None] * unjudged
    cutoffs = Cutoffs(easy, medium)
    chances = tier_chances(labels, sensitivity=sensitivity, specificity=specificity, cutoffs=cutoffs, prior=prior)
    return min(max(chances.wrong(("easy", "medium", "difficult")[cutoffs.tier(errors)]), 0.0), 1.0)


def at_cut_off(errors: int, *, easy: int, medium: int) -> bool:
    """One error more or less gives another tier: 4, 5, 7 and 8 of nine."""
    return errors in (easy, easy + 1, medium, medium + 1)


def mix(seed: int, use: str, number: int) -> int:
    """128 bits that look random, the same for the same arguments; `drawing` has the database make the same."""
    return int.from_bytes(hashlib.md5(f"{seed}:{use}:{number}".encode(), usedforsecurity=False).digest(), "big")
