"""What the judge's errors do to tiers, as long as it errs on each path on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from apps.review.statistics.intervals import FloatArray

PATHS = 9
ROUNDS, ENOUGH = 2000, 1e-9


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

    def wrong(self, tier: Literal["easy", "medium", "difficult"]) -> float:
        """The chance that a question put into `tier` belongs elsewhere."""
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


def true_error_distribution(
    seen: Sequence[int], *, sensitivity: float, specificity: float, rounds: int = ROUNDS
) -> FloatArray:
    """Questions by judged errors 0 … paths → the likeliest shares of questions with 0 … paths true errors (by EM).

    Rogan and Gladen's correction for whole questions. Starts from what was seen, smoothed.
    """
    counts = np.asarray(seen, dtype=float)
    paths = len(counts) - 1
    if counts.sum() <= 0:
        return np.full(paths + 1, 1 / (paths + 1))
    chance = np.array(
        [
            observed_given_true(t, sensitivity=sensitivity, specificity=specificity, paths=paths)
            for t in range(paths + 1)
        ]
    )  # [true, seen]
    share = (counts + 0.5) / (counts + 0.5).sum()
    for _ in range(rounds):
        expected = share @ chance
        ratio = np.divide(counts, expected, out=np.zeros_like(counts), where=expected > 0)
        moved = share * (chance @ ratio) / counts.sum()
        moved /= moved.sum()
        done = float(np.abs(moved - share).max()) < ENOUGH
        share = moved
        if done:
            break
    return np.asarray(share, dtype=float)


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
