"""A circuit breaker: after too many failures nothing is sent for a while, then one call finds out."""

from __future__ import annotations

import random
from collections import deque
from typing import Protocol

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
PROBED_S = 20.0  # a call that has not failed for so long, longer than a connection takes, shows a server that works


class Evidence(Protocol):
    """What speaks for opening a breaker."""

    def note(self, *, failed: bool) -> None: ...

    def suffices(self) -> bool: ...

    def clear(self) -> None: ...


class Failures:
    """No connection, or an error of the server: five in a row, and most of the last twenty; or twenty in a row."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=20)
        self._row = 0

    def note(self, *, failed: bool) -> None:
        self._recent.append(failed)
        self._row = self._row + 1 if failed else 0

    def suffices(self) -> bool:
        return self._row >= 5 and sum(self._recent) > 0.6 * len(self._recent)

    def clear(self) -> None:
        self._recent.clear()
        self._row = 0


class Refusals:
    """429s: more than half of the latest calls sent, between 150 and 300 of them. Of the calls sent, not of the replies:
    a 429 comes at once, so that after every pause the first replies are all 429s."""

    def __init__(self) -> None:
        self._sent = self._refused = 0.0

    @property
    def share(self) -> float:
        return self._refused / self._sent if self._sent else 0.0

    def count_sent(self) -> None:
        self._sent += 1
        if self._sent >= 300:
            self._sent /= 2
            self._refused /= 2

    def note(self, *, failed: bool) -> None:
        self._refused += failed

    def suffices(self) -> bool:
        return self._refused >= 15 and self._refused > 0.5 * self._sent

    def clear(self) -> None:
        self._sent = self._refused = 0.0


BARRED_S = 60.0
NO_ANSWER = "connection: the model does not answer"


class Breaker:
    """Closed, open until `open_until`, or half-open: one call goes through, and its outcome decides.

    Outcomes of calls sent before it opened tell nothing about now. Times are those of one monotonic clock, in seconds.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.open_until: float | None = None
        self._opened_at = float("-inf")
        self._probed_at: float | None = None
        self._pause = 0.0
        self.why = NO_ANSWER

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
        self._evidence.note(failed=False)
        return closed

    def failed(self, sent_at: float, now: float, *, pause: float = 0.0) -> bool:
        """Whether this opened it, or kept it open. `pause`: seconds that the server asked for."""
        if sent_at < self._opened_at:
            return False
        self._evidence.note(failed=True)
        if self.open_until is None and not self._evidence.suffices():
            return False
        self.hold(now, max(pause, self._next_pause()))
        return True

    def bar(self, sent_at: float, now: float, why: str) -> None:
        """Open, as long as a person may need to put something right."""
        if sent_at >= self._opened_at:
            self.hold(now, BARRED_S)
            self.why = why

    def hold(self, now: float, seconds: float) -> None:
        """Open for so long."""
        self.why = NO_ANSWER
        self.open_until = now + seconds
        self._opened_at = now
        self._probed_at = None

    def _next_pause(self) -> float:
        self._pause = min(max(FIRST_PAUSE_S, 2 * self._pause), LONGEST_PAUSE_S)
        return self._pause * random.uniform(0.8, 1.2)

    def _close(self) -> None:
        self.open_until = self._probed_at = None
        self._pause = 0.0
        self._evidence.clear()
