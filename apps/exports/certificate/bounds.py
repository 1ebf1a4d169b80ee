"""Upper bounds on the share of wrong records from a sample drawn at random. Pure: counts in, rates out.

All are one-sided and hold with at least the confidence stated, whatever the true share is. The sample size has to be
fixed before the first record is judged; `sequential` is for those who want to look on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from apps.review.statistics.acceptance import highest_rate, sample_size
from apps.review.statistics.intervals import CONFIDENCE, clopper_pearson


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the records with a simple random sample of its own."""

    name: str
    records: int
    drawn: int
    faults: int

    def __post_init__(self) -> None:
        if not 0 <= self.faults <= self.drawn <= self.records:
            raise ValueError(f"{self.name}: {self.faults} faults of {self.drawn} drawn of {self.records} cannot be.")


@dataclass(frozen=True, slots=True)
class Misses:
    """What reviewers overlooked among `known` wrong records that were put before them without telling.

    `spread`: how much oftener those who judge a record together may miss a fault than one of them does, at most.
    """

    missed: int
    known: int
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.missed <= self.known or self.spread < 1:
            raise ValueError("No more can be missed than there was.")

    @property
    def rate(self) -> float:
        """As measured; 1 where nothing was measured."""
        return self.missed / self.known if self.known else 1.0

    def interval(self, confidence: float) -> tuple[float, float]:
        """Of the rate as measured, exact."""
        return clopper_pearson(self.missed, self.known, confidence)

    def highest(self, confidence: float) -> float:
        return min(1.0, self.spread * highest_rate(self.missed, self.known, confidence=confidence))


def corrected_rate(rate: float, miss_rate: float) -> float:
    """The share of wrong records, where reviewers find `rate` and miss `miss_rate` of what is wrong: 1 %, 20 % → 1.25 %."""
    return min(1.0, rate / (1 - miss_rate)) if miss_rate < 1 else 1.0


def corrected_bound(faults: int, n: int, misses: Misses, *, confidence: float = CONFIDENCE) -> float:
    """The upper bound with both uncertainties carried: half of the risk each for the sample and for the miss rate (Bonferroni).

    Records judged wrong though they are right make it larger only. The sample's part is binomial also where it was drawn
    from few records without putting back: see `docs/certificate.md`.
    """
    half = (1 + confidence) / 2
    return corrected_rate(highest_rate(faults, n, confidence=half), misses.highest(half))


def corrected_sample_size(rate: float, misses: Misses, *, accept: int = 0, confidence: float = CONFIDENCE) -> int:
    """The smallest sample whose `corrected_bound` is at most `rate` with `accept` faults.

    Raises ValueError where the miss rate was measured on too few known faults to say anything.
    """
    half = (1 + confidence) / 2
    found = 1 - misses.highest(half)
    if found <= 0:
        raise ValueError("The miss rate is not known well enough: show the reviewers more known faults.")
    return sample_size(rate * found, accept=accept, confidence=half)


def finite_bound(faults: int, n: int, records: int, *, confidence: float = CONFIDENCE) -> int:
    """The largest number of wrong records among `records` with which so few `faults` among `n` are not too unlikely.

    Exact for a sample without putting back (hypergeometric); `records` itself without a sample.
    """
    Stratum("sample", records, n, faults)
    risk = 1 - confidence
    low, high = faults, records - (n - faults)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if hypergeometric_cdf(faults, n, middle, records) > risk else (low, middle - 1)
    return low


def finite_sample_size(rate: float, records: int, *, accept: int = 0, confidence: float = CONFIDENCE) -> int:
    """As `acceptance.sample_size`, for a sample drawn from `records` without putting back: never more, often fewer.

    Raises ValueError where `accept` faults are as many as `rate` of the records: even reading all would not show it.
    """
    wrong = math.ceil(rate * records - 1e-9)  # so many would be too many
    if not 0 < rate < 1 or not 0 < confidence < 1 or not 0 <= accept < wrong:
        raise ValueError(f"{accept} accepted faults cannot show that fewer than {rate:.3%} of {records} are wrong.")
    low, high = accept, records
    while high - low > 1:
        middle = (low + high) // 2
        enough = hypergeometric_cdf(accept, middle, wrong, records) <= 1 - confidence
        low, high = (low, middle) if enough else (middle, high)
    return high


def stratified_bound(strata: Sequence[Stratum], *, confidence: float = CONFIDENCE, finite: bool = True) -> float:
    """Upper bound on the share over all strata: each one's exact bound, weighted by its records.

    The risk is shared out evenly among the strata that were not read whole (Bonferroni), so all bounds hold at once with
    the confidence stated, and their sum does. Conservative: with equal care, a simple sample gives a lower bound. A stratum
    without a sample counts as wrong altogether. `finite=False` takes the binomial bound of each instead.
    """
    total = sum(s.records for s in strata)
    if not total:
        raise ValueError("There are no records.")
    unsure = sum(not finite or s.drawn < s.records for s in strata)
    each = 1 - (1 - confidence) / max(unsure, 1)
    wrong = 0.0
    for s in strata:
        if s.drawn == s.records and finite:
            wrong += s.faults
        elif finite:
            wrong += finite_bound(s.faults, s.drawn, s.records, confidence=each)
        else:
            wrong += s.records * highest_rate(s.faults, s.drawn, confidence=each)
    return min(1.0, wrong / total)


def hypergeometric_cdf(faults: int, n: int, wrong: int, records: int) -> float:
    """P(at most `faults` of `wrong` wrong ones among `n` drawn of `records`)."""
    lowest, highest = max(0, n - (records - wrong)), min(faults, n, wrong)
    if highest < lowest:
        return 0.0
    if highest == min(n, wrong):
        return 1.0
    k = np.arange(lowest, highest + 1)
    logs = _choose(wrong, k) + _choose(records - wrong, n - k) - _choose(records, np.asarray(n))
    return float(min(1.0, np.exp(logs).sum()))


def _choose(n: int, k: np.ndarray) -> np.ndarray:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
