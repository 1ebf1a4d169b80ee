"""What the judge's errors do to tiers, as long as it errs on each path on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apps.review.statistics.intervals import FloatArray

PATHS = 9


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The most errors of an easy and of a medium question."""

    easy: int = 4
    medium: int = 7

    def tier(self, errors: int) -> int:
        """0 easy, 1 medium, 2 difficult."""
        return int(errors > self.easy) + int(errors > self.medium)


@dataclass(frozen=True, slots=True)
class TierChances:
    easy: float
    medium: float
    difficult: float

    def wrong(self, tier: str) -> float:
        """The chance that a question put into `tier` (easy, medium, difficult) belongs elsewhere."""
        return 1.0 - float(getattr(self, tier))


def observed_given_true(true_errors: int, *, sensitivity: float, specificity: float, paths: int = PATHS) -> FloatArray:
    """P(the judge says k Errors) for k = 0 … paths, of a question with `true_errors`."""
    return np.asarray(
        np.convolve(_binomial(true_errors, sensitivity), _binomial(paths - true_errors, 1 - specificity)), dtype=float
    )


def wrong_tier(
    true_errors: int,
    *,
    sensitivity: float,
    specificity: float,
    cutoffs: Cutoffs = Cutoffs(),
    paths: int = PATHS,
) -> float:
    """The chance that a question with `true_errors` is put into another tier. 5 errors at .90 / .95: 35 %."""
    seen = observed_given_true(true_errors, sensitivity=sensitivity, specificity=specificity, paths=paths)
    right = cutoffs.tier(true_errors)
    return float(sum(p for k, p in enumerate(seen) if cutoffs.tier(k) != right))


def tier_chances(
    labels: Sequence[bool | None],
    *,
    sensitivity: float,
    specificity: float,
    prior: float | Sequence[float],
    cutoffs: Cutoffs = Cutoffs(),
) -> TierChances:
    """The chance of each tier given the judge's labels (True: Error; none: unjudged).

    `prior`: the share of paths that are wrong, each on its own; or the chance of 0, 1, … len(labels) wrong paths,
    which knows that paths of a hard question go wrong together (`true_error_distribution`).
    """
    paths = len(labels)
    before = _binomial(paths, float(prior)) if isinstance(prior, int | float) else np.asarray(prior, dtype=float)
    if len(before) != paths + 1:
        raise ValueError(f"The prior of {paths} paths has {paths + 1} chances.")
    errors, correct = sum(label is True for label in labels), sum(label is False for label in labels)
    likelihood = _likelihood(errors, correct, paths, sensitivity, specificity)
    after = before * likelihood
    after = after / after.sum() if after.sum() > 0 else before
    chances = [0.0, 0.0, 0.0]
    for true_errors, chance in enumerate(after):
        chances[cutoffs.tier(true_errors)] += float(chance)
    return TierChances(*chances)


def true_error_distribution(seen: Sequence[int], *, sensitivity: float, specificity: float) -> FloatArray:
    """Questions by judged errors 0 … paths → the chance of 0 … paths true errors: a beta-binomial by its moments.

    Its mean is Rogan and Gladen's corrected rate; its spread is what varies between questions once the judge's errors
    and chance are taken off. Smooth on purpose: the likeliest shares by number would be a few spikes.
    """
    counts = np.asarray(seen, dtype=float)
    paths, questions, gain = len(counts) - 1, counts.sum(), sensitivity + specificity - 1
    if questions <= 0 or gain <= 0:
        return np.full(paths + 1, 1 / (paths + 1))
    share = np.arange(paths + 1) / paths
    judged = float(counts @ share / questions)
    mean = min(1.0, max(0.0, (judged - (1 - specificity)) / gain))
    spread = float(counts @ (share - judged) ** 2 / questions)
    between = (paths * spread - judged * (1 - judged)) / (paths - 1) / gain**2 if paths > 1 else 0.0
    between = min(between, 0.99 * mean * (1 - mean))
    if between <= 1e-9:
        return _binomial(paths, mean)
    size = mean * (1 - mean) / between - 1
    return _beta_binomial(paths, mean * size, (1 - mean) * size)


def _likelihood(errors: int, correct: int, paths: int, sensitivity: float, specificity: float) -> FloatArray:
    """P(these labels | t of the paths are wrong, any of them as likely), t = 0 … paths; unjudged paths say nothing.

    By enumeration: i of the wrong paths among those labelled Error, j among those labelled Correct, the rest unjudged.
    """
    found = np.zeros(paths + 1)
    unjudged = paths - errors - correct
    for i in range(errors + 1):
        for j in range(correct + 1):
            chance = (
                sensitivity**i
                * (1 - specificity) ** (errors - i)
                * (1 - sensitivity) ** j
                * specificity ** (correct - j)
            )
            for u in range(unjudged + 1):
                found[i + j + u] += math.comb(errors, i) * math.comb(correct, j) * math.comb(unjudged, u) * chance
    return np.asarray(found / np.array([math.comb(paths, t) for t in range(paths + 1)]), dtype=float)


def _binomial(n: int, p: float) -> FloatArray:
    return np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


def _beta_binomial(n: int, a: float, b: float) -> FloatArray:
    k = np.arange(n + 1)
    logs = np.array([math.lgamma(a + i) + math.lgamma(b + n - i) for i in k])
    weights = np.array([math.comb(n, i) for i in k]) * np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum(), dtype=float)
