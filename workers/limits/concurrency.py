"""How many calls a server takes at once, found out from its 429s (AIMD)."""

from __future__ import annotations

from math import sqrt

CUT = 0.75
GROW_AFTER = 25  # successes, for one more in flight
EPOCH_S = 1.0  # or the mean latency, if that is longer
EPOCH_CALLS = (20, 40)  # at least; of few at once and of many
NOTICED = 0.05  # a smaller share of 429s is no reason for anything
MOSTLY = 0.5
TRY_AGAIN_S = 30.0


class Concurrency:
    """Once an epoch, a share of 429s cuts the limit by a quarter. A cut is a trial: where the share does not fall with it,
    the 429s are not for too many calls at once, and the cut is taken back; so a server that refuses three in ten
    whatever we do is not left idle. `most` is the ceiling. Times are of one monotonic clock, in seconds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self.latency = 0.0  # mean, of calls that were accepted
        self._sent = self._refused = 0  # of this epoch
        self._from = float("-inf")  # 429s before belong to the limit before a cut
        self._until = float("-inf")
        self._trial: tuple[float, float] | None = None  # limit and share before the cut
        self._tolerated = 0.0  # share of 429s that a cut did not lower
        self._try_again_at = 0.0

    @property
    def limit(self) -> int:
        return max(1, int(self._limit))

    @property
    def most(self) -> int:
        return self._most

    @most.setter
    def most(self, most: int) -> None:
        if most > self._most and self._limit >= self._most:
            self._limit = float(most)
        self._most = most
        self._limit = min(self._limit, most)

    def count_sent(self) -> None:
        self._sent += 1

    def accepted(self, now: float, latency: float) -> None:
        self.latency += 0.05 * (latency - self.latency) if self.latency else latency
        if self._limit < self._most and self._trial is None:
            self._limit = min(self._limit + 1 / GROW_AFTER, self._most)
        if self._sent >= self._enough:
            self._note(now)

    def refused(self, now: float) -> None:
        self._refused += 1
        self._note(now)

    def judge(self, now: float) -> None:
        """End the epoch now. Where most are refused there is too little to see whether a cut helped: it stays."""
        if not self._sent:
            return
        share = min(1.0, self._refused / self._sent)  # of the calls sent: a 429 comes before an earlier call's reply
        if now >= self._try_again_at:
            self._tolerated = 0.0
        if self._trial is not None and share <= MOSTLY:
            self._end_trial(share, now)
        elif share > self._tolerated + max(NOTICED, 2 * sqrt(self._tolerated * (1 - self._tolerated) / self._sent)):
            self._trial = (self._limit, share) if share <= MOSTLY else None
            self._limit = max(1.0, self._limit * CUT)
            self._from = now + self.latency
        self._sent = self._refused = 0
        self._until = max(now, self._from) + max(EPOCH_S, self.latency)

    def _end_trial(self, share: float, now: float) -> None:
        """Were the 429s those beyond what the server takes, all others cut, the share would have fallen by `fall`."""
        assert self._trial is not None
        limit, before = self._trial
        self._trial = None
        fall = (1 - before) * (1 / CUT - 1)
        if share > before - fall / 2:
            self._limit = min(max(self._limit, limit), self._most)
            self._tolerated = share
            self._try_again_at = now + TRY_AGAIN_S

    @property
    def _enough(self) -> float:
        few, many = EPOCH_CALLS
        return max(few, min(2 * self._limit, many))

    def _note(self, now: float) -> None:
        if now < self._from:
            self._sent = self._refused = 0
        elif now >= self._until and self._sent >= self._enough:
            self.judge(now)
