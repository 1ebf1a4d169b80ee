"""Whole questions drawn again with replacement: the interval for what has no formula when items stand together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apps.review.statistics.intervals import CONFIDENCE, FloatArray, IntArray, sum_by
from apps.review.statistics.linear import Statistic

RESAMPLES = 2000
SEED = 2509
MOST_UNDEFINED = 0.1
FEWEST = 10  # questions: with fewer the percentiles say too little


@dataclass(frozen=True, slots=True)
class Resampled:
    """A percentile interval; none with too few clusters, or when one resample in ten or more had no value.

    `error` is the standard error.
    """

    low: float | None
    high: float | None
    error: float | None
    clusters: int


def bootstrap(
    features: FloatArray,
    clusters: IntArray,
    statistic: Statistic,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Resampled:
    """`statistic` of the sums (resamples, k), NaN where undefined. The same rows in any order give the same interval.

    Questions with the same sums are drawn together, as one multinomial draw: the same distribution, far fewer numbers.
    """
    sums = sum_by(clusters, features)
    m = len(sums)
    if m < FEWEST:
        return Resampled(None, None, None, m)
    patterns, counts = np.unique(sums, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(m, counts / m, size=resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic(drawn @ patterns), dtype=float)
    values = values[np.isfinite(values)]
    if len(values) <= resamples * (1 - MOST_UNDEFINED):
        return Resampled(None, None, None, m)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Resampled(float(low), float(high), float(values.std(ddof=1)), m)
