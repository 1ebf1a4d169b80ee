"""What a process may send to an endpoint now: one gate for each, shared by all pumps."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from apps.pipeline.config import EndpointConfig
from workers.limits.breaker import BARRED_S, Breaker, Failures, Refusals
from workers.limits.concurrency import Concurrency
from workers.limits.replicas import choose
from workers.limits.tokens import Outputs

log = logging.getLogger(__name__)
PROBE_WAIT_S = 1.0  # an answer to the one call that finds out is expected soon

gates: dict[tuple[str, str], Gate] = {}
_gates_lock = threading.Lock()


def gate_for(endpoint: EndpointConfig) -> Gate:
    with _gates_lock:
        gate = gates.setdefault((endpoint.limit_key, endpoint.name), Gate(endpoint.name, endpoint.max_in_flight))
    gate.set_ceiling(most=endpoint.max_in_flight)
    return gate


class Gate:
    """Calls in flight, a breaker for each address, and one for 429s. Any thread may call; `now` is `time.monotonic()`."""

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.in_flight = 0
        self.waiting = 0  # calls that queue for it in the pumps' channels
        self.members = 0  # channels that send through it
        self.outputs: dict[str, Outputs] = {}  # of each lane; outlives the pumps
        self._most = most
        self._processes = 1
        self._concurrency = Concurrency(most)
        self._refused = Refusals()
        self._refusals = Breaker(self._refused)
        self._breakers: dict[str, Breaker] = {}
        self._loads: dict[str, int] = {}
        self._kept: deque[float] = deque()  # until when a place stays taken after a 429
        self._lock = threading.Lock()

    def enter(self, now: float, affinity: int, addresses: Sequence[str], avoid: str = "") -> str | None:
        """The address that takes the call, which must `leave` it; none when nothing may be sent now."""
        with self._lock:
            refusals = self._refusals
            if self._taken(now) >= self._concurrency.limit or (refusals.open_until is not None and refusals.wait(now)):
                return None
            address = addresses[0] if len(addresses) == 1 else self._choose(now, affinity, addresses, avoid)
            breaker = self._breaker(address)
            if breaker.open_until is not None:
                if breaker.wait(now):
                    return None
                breaker.probe(now)
            if refusals.open_until is not None:
                refusals.probe(now)
            self.in_flight += 1
            self._loads[address] += 1
            self._refused.count_sent()
            self._concurrency.count_sent()
            return address

    def succeeded(self, address: str, sent_at: float, now: float) -> None:
        with self._lock:
            self._leave(address)
            self._concurrency.accepted(now, now - sent_at)
            self._refusals.succeeded(sent_at)
            closed = self._breakers[address].succeeded(sent_at)
        if closed:
            log.info("%s: %s answers again", self.name, address)

    def failed(self, address: str, sent_at: float, now: float, words: str) -> None:
        """No connection, or an error of the server."""
        with self._lock:
            self._leave(address)
            self._refusals.abandon(sent_at)
            breaker = self._breakers[address]
            level = _level(breaker)
            opened = breaker.failed(sent_at, now)
            wait = breaker.wait(now)
        if opened:
            log.log(level, "%s: %s does not answer (%s); a pause of %.1f s", self.name, address, words, wait)

    def barred(self, address: str, sent_at: float, now: float, words: str) -> None:
        """The endpoint does not let us in: a key, a quota or a model's name has to be put right. One call finds out when."""
        with self._lock:
            self._leave(address)
            self._refusals.abandon(sent_at)
            breaker = self._breakers[address]
            level = _level(breaker)
            breaker.bar(sent_at, now, f"access: {words}")
        log.log(level, "%s: %s gives no access (%s); a pause of %.0f s", self.name, address, words, BARRED_S)

    def refused(self, address: str, sent_at: float, now: float, retry_after: float) -> float:
        """A 429. Seconds for which everybody should wait: those named, once most replies are 429; else 0."""
        with self._lock:
            self._leave(address)
            self._breakers[address].succeeded(sent_at)
            self._concurrency.refused(now)
            self._kept.append(sent_at + self._concurrency.latency)
            level = _level(self._refusals)
            if not self._refusals.failed(sent_at, now, pause=retry_after):
                return 0.0
            self._concurrency.judge(now)
            wait = self._refusals.wait(now)
        log.log(level, "%s: most replies are 429; a pause of %.1f s", self.name, wait)
        return wait

    def abandoned(self, address: str, sent_at: float) -> None:
        """The call was given up before its outcome."""
        with self._lock:
            self._leave(address)
            self._refusals.abandon(sent_at)
            self._breakers[address].abandon(sent_at)

    def hold(self, now: float, seconds: float) -> None:
        """Another process found that everybody should wait."""
        with self._lock:
            if seconds > self._refusals.wait(now):
                self._refusals.hold(now, seconds)

    def closed(self, now: float, addresses: Sequence[str]) -> tuple[str, float] | None:
        """Why nothing may be sent, and for how many seconds."""
        with self._lock:
            if wait := self._refusals.wait(now):
                return "rate_limit: most replies are 429", self._expected(self._refusals, now, wait)
            waits = [(b.wait(now), b) for b in map(self._breaker, addresses)]
            wait, breaker = min(waits, key=lambda found: found[0], default=(0.0, self._refusals))
            return (breaker.why, self._expected(breaker, now, wait)) if wait else None

    def probing(self, now: float, addresses: Sequence[str]) -> bool:
        """Whether the next call is to find out if the model is back."""
        with self._lock:
            states = [self._breaker(address).state(now) for address in addresses]
            return "closed" not in states or self._refusals.state(now) != "closed"

    def share(self, sent: int, waiting: int) -> int:
        """How many calls a channel with so many in flight and in its queue should have: an even part of the limit, and
        what the other channels leave."""
        with self._lock:
            limit = self._concurrency.limit
            others = self.in_flight - sent + self.waiting - waiting
            return max(1, limit // max(1, self.members), limit - others)

    def free(self, now: float) -> int:
        with self._lock:
            return self._concurrency.limit - self._taken(now)

    def queue(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def join(self, change: int) -> None:
        with self._lock:
            self.members += change

    def set_ceiling(self, *, most: int | None = None, processes: int | None = None) -> None:
        """The endpoint's calls in flight, of which this process may have its part."""
        with self._lock:
            self._most = self._most if most is None else most
            self._processes = self._processes if processes is None else processes
            self._concurrency.most = max(1, self._most // self._processes)

    def describe(self, now: float) -> dict[str, Any]:
        with self._lock:
            return {
                "limit": self._concurrency.limit,
                "in_flight": self.in_flight,
                "share_429": round(self._refused.share, 3),
                "state_429": self._refusals.state(now),
                "addresses": {address: breaker.state(now) for address, breaker in self._breakers.items()},
            }

    def _choose(self, now: float, affinity: int, addresses: Sequence[str], avoid: str) -> str:
        live = {a: self._loads[a] for a in addresses if not self._breaker(a).wait(now)}
        if len(live) > 1:
            live.pop(avoid, None)
        return choose(affinity, live) if live else addresses[0]

    def _breaker(self, address: str) -> Breaker:
        breaker = self._breakers.get(address)
        if breaker is None:
            breaker = self._breakers[address] = Breaker(Failures())
            self._loads[address] = 0
        return breaker

    def _taken(self, now: float) -> int:
        """Places in use. A 429 comes at once: its place stays taken for as long as a call takes, or the places beyond
        what the server accepts would be filled again and again, with nothing but 429s."""
        while self._kept and self._kept[0] <= now:
            self._kept.popleft()
        return self.in_flight + len(self._kept)

    def _leave(self, address: str) -> None:
        self.in_flight -= 1
        self._loads[address] -= 1

    @staticmethod
    def _expected(breaker: Breaker, now: float, wait: float) -> float:
        return min(wait, PROBE_WAIT_S) if breaker.state(now) == "half-open" else wait


def _level(breaker: Breaker) -> int:
    """What goes on is not said again at each attempt."""
    return logging.WARNING if breaker.open_until is None else logging.INFO
