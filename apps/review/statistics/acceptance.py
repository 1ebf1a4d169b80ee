"""How many records must be checked to say that few are wrong."""

from __future__ import annotations

from apps.review.statistics.intervals import CONFIDENCE, binomial_cdf, clopper_pearson


def sample_size(rate: float, *, accept: int = 0, confidence: float = CONFIDENCE) -> int:
    """The smallest simple random sample in which at most `accept` faults show that fewer than `rate` are faulty.

    That is: were the rate as high as `rate`, so few faults would turn up with a chance of at most 1 − confidence.
    1 % and no fault accepted: 299. A targeted sample says nothing of the kind.
    """
    if not 0 < rate < 1 or not 0 < confidence < 1 or accept < 0:
        raise ValueError("The rate and the confidence lie between 0 and 1, and at least 0 faults are accepted.")
    risk = 1 - confidence
    low, high = accept, accept + 1
    while binomial_cdf(accept, high, rate) > risk:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(accept, middle, rate) > risk else (low, middle)
    return high


def highest_rate(faults: int, n: int, *, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper limit of the fault rate after `faults` among `n` (Clopper–Pearson); 1 without a sample."""
    return clopper_pearson(faults, n, 2 * confidence - 1)[1]
