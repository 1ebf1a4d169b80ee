"""The standard error of any smooth function of sums, by linearisation (the delta method)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from apps.review.statistics.intervals import FloatArray

Statistic = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]  # (…, k) sums → (…) values
STEP = 1e-30


def standard_error(features: FloatArray, statistic: Statistic) -> float:
    """Of `statistic(features.sum(0))`, the rows (n, k) being independent; n / (n − 1) for small samples.

    For Cohen's κ this is the formula of Fleiss, Cohen and Everitt (1969), for Fleiss' κ and AC1 that of Gwet (2008).
    """
    n = len(features)
    spread = features - features.mean(0)
    influence = spread @ gradient(features.sum(0), statistic)
    return math.sqrt(float((influence**2).sum()) * n / (n - 1))


def gradient(sums: FloatArray, statistic: Statistic) -> FloatArray:
    """Exact to rounding: a step along the imaginary axis (the statistic must be an analytic expression)."""
    steps = sums.astype(complex) + 1j * STEP * np.eye(len(sums))
    return np.asarray(np.imag(statistic(steps)) / STEP, dtype=float)
