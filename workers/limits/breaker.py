"""A circuit breaker: after too many failures nothing is sent for a while, then one call finds out."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
PROBED_S = 20.0  # a call that has not failed for so long, longer than a connection takes, shows a server that works


@dataclass(frozen=True, slots=True)
class Trip:
    """When it opens: more than `share` of the last replies failed (`least` are known), the last `row` of them in a row;
    or `alone` in a row, whatever was before."""

    window: int
    least: int
    row: int
    share: float
    alone: int


FAILURES = Trip(window=20, least=5, row=5, share=0.6, alone=20)  # no connection, server errors
REFUSALS = Trip(window=100, least=40, row=1, share=0.5, alone=12)  # 429s: three in ten at random must not open it


class Breaker:
    """Closed, open until `open_until`, or half-open: one call goes through, and its outcome decides.

    Outcomes of calls sent before it opened tell nothing about now. Times are those of one monotonic clock, in seconds.
    """

    def __init__(self, trip: Trip = FAILURES) -> None:
        self.trip = trip
        self.open_until: float | None = None
        self._opened_at = float("-inf")
        self._probed_at: float | None = None
        self._pause = 0.0
        self._recent: deque[bool] = deque(maxlen=trip.window)
        self._failed = 0  # of the recent ones
        self._row = 0

    @property
    def share(self) -> float:
        """Of the recent replies, those that failed."""
        return self._failed / len(self._recent) if self._recent else 0.0

    def state(self, now: float) -> str:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def wait(self, now: float) -> float:
        """Seconds until a call may be sent; 0: now. In half-open state whoever sends must say so with `probe`."""
        if self.open_until is None:
            return 0.0
        if now < self.open_until:
            return self.open_until - now
        if self._probed_at is None:
            return 0.0
        left = self._probed_at + PROBED_S - now
        if left <= 0:
            self._close()
        return max(0.0, left)

    def probe(self, now: float) -> None:
        if self.open_until is not None:
            self._probed_at = now

    def abandon(self, sent_at: float) -> None:
        """A call that was given up without an outcome: if it was the probe, another may follow."""
        if sent_at >= self._opened_at:
            self._probed_at = None

    def succeeded(self, sent_at: float) -> bool:
        """Whether this closed it."""
        if sent_at < self._opened_at:
            return False
        closed = self.open_until is not None
        if closed:
            self._close()
        self._note(failed=False)
        return closed

    def failed(self, sent_at: float, now: float, *, pause: float = 0.0) -> bool:
        """Whether this opened it, or kept it open. `pause`: seconds that the server asked for."""
        if sent_at < self._opened_at:
            return False
        self._note(failed=True)
        if self.open_until is None and not self._trips():
            return False
        self.hold(now, max(pause, self._next_pause()))
        return True

    def hold(self, now: float, seconds: float) -> None:
        """Open for so long."""
        self.open_until = now + seconds
        self._opened_at = now
        self._probed_at = None

    def _next_pause(self) -> float:
        self._pause = min(max(FIRST_PAUSE_S, 2 * self._pause), LONGEST_PAUSE_S)
        return self._pause * random.uniform(0.8, 1.2)

    def _trips(self) -> bool:
        trip, known = self.trip, len(self._recent)
        mostly = known >= trip.least and self._failed > trip.share * known
        return self._row >= trip.alone or (mostly and self._row >= trip.row)

    def _close(self) -> None:
        self.open_until = self._probed_at = None
        self._pause = 0.0
        self._recent.clear()
        self._failed = self._row = 0

    def _note(self, *, failed: bool) -> None:
        if len(self._recent) == self.trip.window:
            self._failed -= self._recent[0]
        self._recent.append(failed)
        self._failed += failed
        self._row = self._row + 1 if failed else 0
