"""Whether a share changes over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apps.review.statistics.figure import percent
from apps.review.statistics.intervals import FloatArray, chi2_tail

CLEAR = 0.05


@dataclass(frozen=True, slots=True)
class Change:
    """`p` is none where there is nothing to test, and the sentence says why. `slope`: change of the share a period."""

    p: float | None
    slope: float | None
    sentence: str


def change_over_time(
    name: str, hits: Sequence[float], totals: Sequence[float], periods: Sequence[float], *, design_effect: float = 1.0
) -> Change:
    """The Cochran–Armitage test for a trend of hits / totals over `periods` (week numbers, gaps allowed).

    `design_effect`: n / effective n of the whole; the statistic is divided by it (Rao and Scott's correction).
    """
    k, n, t = (np.asarray(values, dtype=float) for values in (hits, totals, periods))
    keep = n > 0
    k, n, t = k[keep], n[keep], t[keep]
    if len(n) < 2:
        return Change(None, None, f"{name}: fewer than two weeks with such paths, so no change can be seen yet.")
    p = k.sum() / n.sum()
    if p in (0.0, 1.0):
        return Change(None, None, f"{name}: {percent(float(p))} in every week, nothing to test.")
    away = t - (n * t).sum() / n.sum()
    spread = float((n * away**2).sum())
    slope = float((away * k).sum() / spread)
    statistic = slope**2 * spread / (p * (1 - p)) / max(1.0, design_effect)
    chance = chi2_tail(float(statistic), 1)
    return Change(chance, slope, _sentence(name, chance, slope, float(p), away))


def _sentence(name: str, chance: float, slope: float, mean: float, away: FloatArray) -> str:
    test = f"test for a trend, p {'< 0.001' if chance < 0.001 else f'= {chance:.3f}'}"
    if chance >= CLEAR:
        return f"{name} shows no clear change over {len(away)} weeks ({test})."
    first, last = (min(1.0, max(0.0, mean + slope * float(x))) for x in (away.min(), away.max()))
    word = "rose" if slope > 0 else "fell"
    return f"{name} {word} from about {percent(first)} to about {percent(last)} over these weeks ({test})."
