"""What the judge is worth against clinicians. Positive means Error: what the judge is there to find."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apps.review.statistics.agreement import numbered, scaled
from apps.review.statistics.bootstrap import bootstrap
from apps.review.statistics.figure import Figure, counted, percent, undefined
from apps.review.statistics.intervals import CONFIDENCE, FloatArray, IntArray, is_simple, share_of, z_of
from apps.review.statistics.linear import Statistic

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judged:
    """One path: is it an Error to clinicians, does the judge say so."""

    truth: bool
    judge: bool
    cluster: Hashable
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Paths with both labels, by column. Weights average 1."""

    truth: BoolArray
    judge: BoolArray
    clusters: IntArray
    weights: FloatArray

    @classmethod
    def build(cls, rows: Iterable[Judged]) -> Calibration:
        found = list(rows)
        return cls(
            np.array([row.truth for row in found], dtype=bool),
            np.array([row.judge for row in found], dtype=bool),
            numbered(row.cluster for row in found),
            scaled(np.array([row.weight for row in found], dtype=float)),
        )

    def among(self, rows: Sequence[int]) -> Calibration:
        at = np.asarray(rows, dtype=np.int64)
        return Calibration(self.truth[at], self.judge[at], self.clusters[at], scaled(self.weights[at]))

    @property
    def n(self) -> int:
        return len(self.truth)

    def count(self, *, truth: bool, judge: bool) -> int:
        return int(((self.truth == truth) & (self.judge == judge)).sum())


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    sensitivity: Figure
    specificity: Figure
    ppv: Figure
    npv: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self.sensitivity, self.specificity, self.ppv, self.npv


def judge_figures(rows: Calibration) -> JudgeFigures:
    return JudgeFigures(sensitivity(rows), specificity(rows), ppv(rows), npv(rows))


def sensitivity(rows: Calibration) -> Figure:
    """Of what clinicians call Error, the share the judge calls Error."""
    said = "Of {n} that clinicians call Error, the judge finds {k:,}{share}."
    return _share("Sensitivity", rows, rows.truth, rows.judge, said, "Clinicians call no path here an Error yet.")


def specificity(rows: Calibration) -> Figure:
    """Of what clinicians call Correct, the share the judge calls Correct."""
    said = "Of {n} that clinicians call Correct, the judge lets {k:,} pass{share}."
    return _share("Specificity", rows, ~rows.truth, ~rows.judge, said, "Clinicians call no path here Correct yet.")


def ppv(rows: Calibration) -> Figure:
    """Of what the judge calls Error, the share that is one to clinicians."""
    said = "Of {n} that the judge calls Error, clinicians agree on {k:,}{share}."
    return _share("PPV", rows, rows.judge, rows.truth, said, "The judge calls no path here an Error.")


def npv(rows: Calibration) -> Figure:
    """Of what the judge calls Correct, the share that is Correct to clinicians."""
    said = "Of {n} that the judge calls Correct, clinicians agree on {k:,}{share}."
    return _share("NPV", rows, ~rows.judge, ~rows.truth, said, "The judge calls no path here Correct.")


def true_error_rate(apparent: float, rows: Calibration, *, apparent_n: int | None = None) -> Figure:
    """Rogan and Gladen (1978): the share of paths that are Error, from the share the judge calls so.

    `apparent_n`: how many paths that share is of when they are a sample; none: they are all there are, and it carries
    no sampling error. Interval: Lang and Reiczigel (2014) for simple samples, else drawing questions again. Value and
    limits are cut at 0 and 1, and the sentence says when.
    """
    name = "True error rate"
    found, correct = sensitivity(rows), specificity(rows)
    if found.value is None or correct.value is None:
        why = f"The judge’s error rate cannot be corrected yet. {found.undefined or correct.undefined}"
        return undefined(name, "share", why, n=rows.n)
    if found.value + correct.value <= 1:
        why = "On these paths the judge does no better than chance (sensitivity + specificity ≤ 1): nothing to correct by."
        return undefined(name, "share", why, n=rows.n)
    exact = (apparent + correct.value - 1) / (found.value + correct.value - 1)
    low, high, method = _true_rate_interval(apparent, rows, found.value, correct.value, apparent_n)
    value = _cut(exact)
    sentence = (
        f"The judge calls {percent(apparent)} Error; corrected for what it misses and what it wrongly blames, "
        f"{percent(value)} are."
    )
    if value != exact:
        sentence += f" (The formula gives {percent(exact).replace('-', '−')}, cut at {value:.0f}.)"
    elif (low is not None and low < 0) or (high is not None and high > 1):
        sentence += " (The interval is cut at 0 and 1.)"
    if low is None or high is None:
        sentence += " No interval: too few questions to draw again."
        limits: tuple[float | None, float | None] = (None, None)
    else:
        limits = (min(_cut(low), value), max(_cut(high), value))
    effective = found.effective_n + correct.effective_n
    return Figure(name, "share", rows.n, effective, value, *limits, method if limits[0] is not None else "", sentence)


def _true_rate_interval(
    apparent: float, rows: Calibration, found: float, correct: float, apparent_n: int | None
) -> tuple[float | None, float | None, str]:
    if is_simple(rows.clusters, rows.weights):
        errors = int(rows.truth.sum())
        low, high = lang_reiczigel(apparent, apparent_n, found, errors, correct, rows.n - errors)
        return low, high, "Rogan–Gladen; Lang and Reiczigel 2014"
    features = np.column_stack(
        [rows.truth & rows.judge, rows.truth, ~rows.truth & ~rows.judge, ~rows.truth]
    ) * rows.weights[:, None]  # fmt: skip
    noise = 0.0 if apparent_n is None else math.sqrt(apparent * (1 - apparent) / apparent_n)
    again = bootstrap(features, rows.clusters, _corrected(apparent, noise))
    return again.low, again.high, f"Rogan–Gladen; bootstrap over {counted(again.clusters, 'question')}"


def _corrected(apparent: float, noise: float) -> Statistic:
    """The corrected rate of each resample; none where the resampled judge does no better than chance."""
    rng = np.random.default_rng(1978)

    def statistic(sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found, correct = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
        seen = np.clip(apparent + noise * rng.standard_normal(np.shape(found)), 0, 1)
        gain = found + correct - 1
        return np.asarray(np.where(gain > 0, (seen + correct - 1) / gain, np.nan))

    return statistic


def lang_reiczigel(
    apparent: float, apparent_n: int | None, found: float, errors: int, correct: float, rest: int
) -> tuple[float, float]:
    """A delta-method interval that keeps its coverage with few paths and shares near 0 or 1; not cut.

    `errors` and `rest`: the paths that sensitivity (`found`) and specificity (`correct`) were measured on.
    """
    z = z_of(CONFIDENCE)
    if apparent_n is None:
        seen, seen_variance = apparent, 0.0
    else:
        seen = (apparent_n * apparent + z * z / 2) / (apparent_n + z * z)
        seen_variance = seen * (1 - seen) / (apparent_n + z * z)
    se, sp = (errors * found + 1) / (errors + 2), (rest * correct + 1) / (rest + 2)
    se_variance, sp_variance = se * (1 - se) / (errors + 2), sp * (1 - sp) / (rest + 2)
    gain = se + sp - 1
    if gain <= 0:
        return 0.0, 1.0
    rate = (seen + sp - 1) / gain
    shift = 2 * z * z * (rate * se_variance - (1 - rate) * sp_variance)
    error = math.sqrt(seen_variance + rate**2 * se_variance + (1 - rate) ** 2 * sp_variance) / gain
    return rate + shift - z * error, rate + shift + z * error


def _share(name: str, rows: Calibration, base: BoolArray, hit: BoolArray, said: str, nothing: str) -> Figure:
    share = share_of((base & hit).astype(float), base.astype(float), rows.clusters, rows.weights)
    if share is None:
        return undefined(
            name, "share", nothing if rows.n else "No path here has a label of the judge and of a clinician."
        )
    drawn = f"; weighted by how they were drawn, {percent(share.value)}" if np.ptp(rows.weights) > 1e-9 else ""
    sentence = said.format(n=counted(share.n, "path"), k=int((base & hit).sum()), share=drawn)
    return Figure(name, "share", share.n, share.effective_n, share.value, share.low, share.high, share.method, sentence)


def _cut(value: float) -> float:
    return min(1.0, max(0.0, value))
