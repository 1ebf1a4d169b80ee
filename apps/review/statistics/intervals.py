"""Intervals of a share: Wilson for a simple random sample, Korn–Graubard for a weighted or clustered one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import special  # type: ignore[import-untyped]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share with its interval; `n` rows of its denominator, worth `effective_n` independent ones."""

    value: float
    low: float
    high: float
    n: int
    effective_n: float
    method: str


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (1927). n = 100, 90 successes: 0.826 to 0.945."""
    if n <= 0:
        return 0.0, 1.0
    z, p = z_of(confidence), successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    return low, 1.0 if successes >= n else min(1.0, centre + half)


def clopper_pearson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact binomial interval; both arguments may be fractions (an effective sample)."""
    if n <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes >= n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def share_of(
    hits: FloatArray, base: FloatArray, clusters: IntArray, weights: FloatArray, confidence: float = CONFIDENCE
) -> Share | None:
    """Σ w·hits / Σ w·base with its interval; none when the base is empty. `hits` ≤ `base`, both 0…1 a row.

    Rows alone in their cluster with equal weights: Wilson. Otherwise Korn–Graubard (1998): the exact interval at the
    effective sample size, from the linearised variance between clusters, with their t correction; never more than n.
    Where every cluster says the same, that variance is 0 and the number of clusters, less for unequal ones, stands in.
    """
    inside = base > 0
    n = int(inside.sum())
    if n == 0:
        return None
    hits, base, clusters, weights = hits[inside], base[inside], clusters[inside], weights[inside]
    value = float((weights * hits).sum() / (weights * base).sum())
    if is_simple(clusters, weights):
        low, high = wilson(float(hits.sum()), float(base.sum()), confidence)
        return Share(value, low, high, n, float(n), "Wilson")
    sizes, top = sum_by(clusters, weights * base), sum_by(clusters, weights * hits)
    effective = _effective(value, sizes, top, n, confidence)
    low, high = clopper_pearson(value * effective, effective, confidence)
    return Share(value, min(low, value), max(high, value), n, effective, "Korn–Graubard, by question")


def _effective(value: float, sizes: FloatArray, top: FloatArray, n: int, confidence: float) -> float:
    m = len(sizes)
    variance = 0.0
    if m > 1 and 0 < value < 1:
        off = (top - value * sizes) / sizes.sum()
        variance = float(m / (m - 1) * (off**2).sum())
    if variance <= 1e-15:
        return min(float(n), float(sizes.sum() ** 2 / (sizes**2).sum()))
    effective = value * (1 - value) / variance
    if n > 1:
        effective *= (t_of(confidence, n - 1) / t_of(confidence, m - 1)) ** 2
    return min(float(n), effective)


def is_simple(clusters: IntArray, weights: FloatArray) -> bool:
    """A simple random sample: every row alone in its cluster, all weights equal."""
    return len(np.unique(clusters)) == len(clusters) and bool(np.ptp(weights) <= 1e-12 * weights.max())


def sum_by(clusters: IntArray, values: FloatArray) -> FloatArray:
    """Column sums by cluster, in the order of the clusters' numbers; (rows,) or (rows, k)."""
    found, place = np.unique(clusters, return_inverse=True)
    out = np.zeros((len(found), *values.shape[1:]))
    np.add.at(out, place, values)
    return out


def z_of(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def t_of(confidence: float, df: float) -> float:
    return float(special.stdtrit(df, (1 + confidence) / 2))


def binomial_cdf(successes: int, n: int, p: float) -> float:
    """P(X ≤ successes)."""
    return float(special.bdtr(successes, n, p))


def chi2_tail(value: float, df: int) -> float:
    """P(χ² ≥ value)."""
    return float(special.chdtrc(df, value))
