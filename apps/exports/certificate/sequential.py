"""Wald's sequential probability ratio test (1945): judge until it is decided, and no record more."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Decision = Literal["accept", "reject", "open"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sequence of judgments stands. Judgments after `decision` are not counted."""

    judged: int
    faults: int
    decision: Decision
    accept_at: int  # so few faults accept now; below 0: none would yet
    reject_at: int  # so many faults reject now
    to_accept: int  # more records without a fault that would accept; 0 once decided


@dataclass(frozen=True, slots=True)
class Sprt:
    """Is the share of wrong records `good` (p0) or less, or `bad` (p1) or more?

    A set with `good` is rejected with a chance of at most `alpha`, one with `bad` or more accepted with at most `beta`:
    "accepted" says "fewer than `bad`" with confidence 1 − beta. The lines are ln β and ln 1/α, a little outside of Wald's
    ln β/(1−α) and ln (1−β)/α, which are approximations and may miss what they promise (his inequality makes ours hold).
    """

    good: float
    bad: float
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.good < self.bad < 1:
            raise ValueError("The good share lies below the bad one, both between 0 and 1.")
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError("Alpha and beta lie between 0 and 0.5.")

    @property
    def slope(self) -> float:
        """Faults a record by which both lines rise; it lies between `good` and `bad`."""
        return -self._sound / (self._wrong - self._sound)

    @property
    def below(self) -> float:
        """Accepted once faults ≤ slope · judged − below."""
        return -math.log(self.beta) / (self._wrong - self._sound)

    @property
    def above(self) -> float:
        """Rejected once faults ≥ slope · judged + above."""
        return -math.log(self.alpha) / (self._wrong - self._sound)

    @property
    def fewest(self) -> int:
        """Records to be judged without a single fault until it is accepted."""
        return math.ceil(self.below / self.slope)

    def accept_at(self, judged: int) -> int:
        """The most faults that accept after so many judgments; below 0 where none do."""
        return math.floor(self.slope * judged - self.below)

    def reject_at(self, judged: int) -> int:
        return math.ceil(self.slope * judged + self.above)

    def expected_records(self, rate: float) -> float:
        """Wald's approximation of the mean number of judgments until a decision; `rate` is `good` or `bad`."""
        accepted = {self.good: 1 - self.alpha, self.bad: self.beta}[rate]
        step = rate * self._wrong + (1 - rate) * self._sound
        return (accepted * math.log(self.beta) - (1 - accepted) * math.log(self.alpha)) / step

    def follow(self, judgments: Iterable[bool]) -> Progress:
        """`judgments` in the order drawn, True for a wrong record. Stops at the first decision."""
        judged = faults = 0
        for wrong in judgments:
            judged += 1
            faults += bool(wrong)
            if (progress := self._at(judged, faults)).decision != "open":
                return progress
        return self._at(judged, faults)

    def _at(self, judged: int, faults: int) -> Progress:
        low, high = self.accept_at(judged), self.reject_at(judged)
        decision: Decision = "accept" if faults <= low else "reject" if faults >= high else "open"
        needed = math.ceil((faults + self.below) / self.slope) - judged if decision == "open" else 0
        return Progress(judged, faults, decision, low, high, needed)

    @property
    def _wrong(self) -> float:
        """What a wrong record adds to the logarithm of the ratio of likelihoods."""
        return math.log(self.bad / self.good)

    @property
    def _sound(self) -> float:
        return math.log((1 - self.bad) / (1 - self.good))
