"""The figures of a certificate, worked out again from its counts: nothing but arithmetic, apart from the workbench's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LARGEST = 10_000_000  # records or known faults; more is not ours, and would keep the reader waiting


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the records with a simple random sample of its own."""

    records: int
    drawn: int
    faults: int

    def __post_init__(self) -> None:
        if not 0 <= self.faults <= self.drawn <= self.records <= LARGEST or not self.records:
            raise ValueError("No more faults than drawn, no more drawn than there are.")


@dataclass(frozen=True, slots=True)
class Misses:
    """What the reviewers overlooked among `known` faults; `spread`: how much oftener those of one record do together."""

    missed: int
    known: int
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.missed <= self.known <= LARGEST or not 1 <= self.spread <= 2:
            raise ValueError("No more can be missed than there was.")

    def interval(self, confidence: float) -> tuple[float, float]:
        """The exact one of the rate as measured (Clopper and Pearson)."""
        side = (1 + confidence) / 2
        low = 1 - highest_rate(self.known - self.missed, self.known, side)
        return (low if self.missed else 0.0), highest_rate(self.missed, self.known, side)

    def highest(self, confidence: float) -> float:
        return min(1.0, self.spread * highest_rate(self.missed, self.known, confidence))


@dataclass(frozen=True, slots=True)
class Test:
    """Wald's: accepted at faults ≤ slope · judged − below, rejected at faults ≥ slope · judged + above."""

    good: float
    bad: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        if not (0 < self.good < self.bad < 1 and 0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError("No test.")

    def decide(self, judgments: Iterable[bool]) -> tuple[str, int]:
        """(accept, reject or open; after how many), `judgments` in the order drawn and True for a wrong record."""
        wrong, right = math.log(self.bad / self.good), math.log((1 - self.bad) / (1 - self.good))
        slope, below, above = (x / (wrong - right) for x in (-right, -math.log(self.beta), -math.log(self.alpha)))
        judged = faults = 0
        for fault in judgments:
            judged, faults = judged + 1, faults + bool(fault)
            if faults <= math.floor(slope * judged - below):
                return "accept", judged
            if faults >= math.ceil(slope * judged + above):
                return "reject", judged
        return "open", judged


def sample_bound(strata: Sequence[Stratum], misses: Misses | None, *, confidence: float, finite: bool) -> float:
    """Of a whole sample. Half of the risk goes to the miss rate where there is one; strata share the rest (Bonferroni)."""
    if not 0 < confidence < 1 or not strata or (finite and misses):
        raise ValueError("No bound.")
    level = (1 + confidence) / 2 if misses else confidence
    unsure = sum(not finite or s.drawn < s.records for s in strata)
    each = 1 - (1 - level) / max(unsure, 1)
    wrong = sum(_highest_count(s, each, finite=finite) for s in strata) / sum(s.records for s in strata)
    return corrected(min(1.0, wrong), misses, level)


def corrected(rate: float, misses: Misses | None, confidence: float) -> float:
    """The share of wrong records, where reviewers find `rate` and miss some: 1 % and 20 % give 1.25 %."""
    missed = misses.highest(confidence) if misses else 0.0
    return min(1.0, rate / (1 - missed)) if missed < 1 else 1.0


def highest_rate(faults: int, n: int, confidence: float) -> float:
    """The one-sided upper limit of Clopper and Pearson: the rate at which so few faults have a chance of 1 − confidence."""
    if not 0 <= faults <= n <= LARGEST or not 0 < confidence < 1:
        raise ValueError("No more faults than records.")
    if faults == n:
        return 1.0
    low, high = faults / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(faults, n, middle) > 1 - confidence else (low, middle)
    return high


def percent_up(share: float) -> str:
    """As certificates write it: two significant digits, rounded up."""
    if share <= 0:
        return "0 %"
    step = 10.0 ** (1 - math.floor(math.log10(share * 100)))
    return f"{min(math.ceil(share * 100 * step - 1e-9) / step, 100.0):.10g} %"


def _highest_count(s: Stratum, confidence: float, *, finite: bool) -> float:
    """Wrong records of a stratum, at most; exact for drawing without putting back where `finite`."""
    if not finite:
        return s.records * highest_rate(s.faults, s.drawn, confidence)
    low, high = s.faults, s.records - (s.drawn - s.faults)
    while low < high:
        middle = (low + high + 1) // 2
        unlikely = _hypergeometric_cdf(s, middle) <= 1 - confidence
        low, high = (low, middle - 1) if unlikely else (middle, high)
    return low


def _hypergeometric_cdf(s: Stratum, wrong: int) -> float:
    """The chance of so few faults were `wrong` of the stratum's records wrong."""
    lowest, highest = max(0, s.drawn - (s.records - wrong)), min(s.faults, wrong)
    ways = _choose(s.records, s.drawn)
    terms = (
        _choose(wrong, k) + _choose(s.records - wrong, s.drawn - k) - ways
        for k in range(lowest, highest + 1)
        if s.drawn - k <= s.records - wrong
    )
    return math.fsum(map(math.exp, terms))


def _binomial_cdf(faults: int, n: int, rate: float) -> float:
    if rate <= 0 or rate >= 1:
        return 1.0 if rate <= 0 else float(faults >= n)
    up, down = math.log(rate), math.log1p(-rate)
    return min(1.0, math.fsum(math.exp(_choose(n, k) + k * up + (n - k) * down) for k in range(faults + 1)))


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
