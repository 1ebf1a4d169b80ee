"""A pump's way to one endpoint: the queue of calls that wait for their turn, and who lets them through."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any, NamedTuple

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import HeldBackError, Reply, Request
from workers.limits import rates
from workers.limits.gate import gate_for
from workers.limits.rates import Grant, Limits
from workers.limits.tokens import Outputs

PATIENT_S = 2.0  # a pause up to so long is waited for; for a longer one the calls go back
LONGEST_WAIT_S = 30.0
NO_SERVER_S = 5.0
NAP_S = 0.2  # the longest time until a stop is seen
CROWDED_S = 0.05  # until a place among the calls in flight is looked for again
ASK_EVERY_S = 0.05
ASK_AHEAD_S = 0.25  # before the moments at hand are used up
SETTLE_S = 0.5


class Turn(NamedTuple):
    address: str
    sent_at: float
    reserved: int  # tokens


@dataclass(slots=True, eq=False)
class Waiter:
    turn: asyncio.Future[Turn]
    affinity: int
    cost: int
    since: float


class Door:
    """Belongs to one event loop. Calls go straight through `enter` where nothing is in the way, else they queue for a
    `turn`; while somebody queues, one task lets them through in their order, at the moments granted by the limits."""

    def __init__(
        self,
        lane: str,
        endpoint: EndpointConfig,
        in_db: Callable[..., Awaitable[Any]],
        stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.endpoint = endpoint
        self.key = endpoint.limit_key
        self.limits = limits_of(endpoint)
        self.gate = gate_for(endpoint)
        self.gate.join(+1)
        self.addresses: list[str] = []
        self.sent = 0  # in flight through this door
        self.look_at = self.count_at = self.ask_blocked_at = 0.0
        self._in_db = in_db
        self._stopping = stopping
        self._clock = clock
        self._room: deque[Waiter] = deque()
        self._porter: asyncio.Task[None] | None = None
        self._bell: asyncio.Future[None] | None = None
        self._moments: deque[tuple[float, int]] = deque()  # granted, with the tokens reserved
        self._asking: asyncio.Task[None] | None = None
        self._ask_at = 0.0
        self._settled = 0  # tokens taken beyond those reserved, not yet told
        self._settling: asyncio.TimerHandle | None = None
        self._outputs = self.gate.outputs.setdefault(lane, Outputs())
        self._resting: deque[float] = deque()  # until when calls answered with 429 wait
        self._avoid: dict[int, str] = {}  # a question's last call failed there

    @property
    def at_once(self) -> bool:
        return self.limits is None and not self._room and bool(self.addresses)

    def enter(self, now: float, affinity: int) -> str | None:
        """The address that takes the call now, if one may."""
        avoid = self._avoid.get(affinity, "") if self._avoid else ""
        return self.gate.enter(now, affinity, self.addresses, avoid)

    async def turn(self, request: Request) -> Turn:
        """Queue. Raises HeldBackError."""
        loop = asyncio.get_running_loop()
        cost = self._outputs.expected(request) if self.limits is not None and self.limits.tokens else 0
        waiter = Waiter(loop.create_future(), request.affinity, cost, self._clock())
        self._room.append(waiter)
        self.gate.queue(+1)
        if self._porter is None or self._porter.done():
            self._porter = asyncio.create_task(self._let_through())
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                address, sent_at, reserved = waiter.turn.result()
                self.gate.abandoned(address, sent_at)
                self.settle(-reserved)
            raise

    def limit(self, now: float) -> int:
        """Calls to keep going: in flight, in the queue, and resting after a 429."""
        while self._resting and self._resting[0] <= now:
            self._resting.popleft()
        if self.gate.probing(now, self.addresses):
            return self.sent + 1
        most = self.gate.share(self.sent, len(self._room))
        if self.limits is not None:
            most = min(most, self.sent + 1 + ceil(2 * self._per_second(self.limits)))
        return most + min(len(self._resting), 3 * most)

    def closed(self, now: float) -> tuple[str, float]:
        """Why nothing may be sent, and for how many seconds; 0: it may."""
        if not self.addresses:
            return f"connection: no server of endpoint {self.endpoint.name} is ready", NO_SERVER_S
        return self.gate.closed(now, self.addresses) or ("", 0.0)

    def rest(self, now: float, seconds: float) -> None:
        self._resting.append(now + seconds)

    def avoid_address(self, affinity: int, address: str) -> None:
        """The next call of this question goes elsewhere, where there is an elsewhere."""
        if len(self.addresses) > 1:
            if len(self._avoid) > 1000:
                self._avoid.clear()
            self._avoid[affinity] = address

    def note_reply(self, reply: Reply, sent_at: float, reserved: int) -> None:
        """What was reserved before the lane's replies were known is not given back: much of it would be at once."""
        if reply.tokens_out is None:
            return
        difference = (reply.tokens_in or 0) + reply.tokens_out - reserved
        known_at = self._outputs.known_at
        self.settle(difference if known_at is not None and sent_at > known_at else max(0, difference))
        self._outputs.note(reply.tokens_out, self._clock())

    def settle(self, tokens: int) -> None:
        """Taken beyond what was reserved; negative: less."""
        if not tokens or self.limits is None or not self.limits.tokens:
            return
        self._settled += tokens
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self._settle_now)

    def ring(self) -> None:
        """Something changed: the one who lets calls through should look."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def close(self) -> None:
        self._turn_away("the worker stops", 0.0)
        for task in (self._porter, self._asking):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        if self._settling is not None:
            self._settling.cancel()
        if self._settled and self.limits is not None:
            await self._in_db(rates.take, self.limits, [], self._settled)
            self._settled = 0
        self.gate.join(-1)

    async def _let_through(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._room:
                nap = self._look()
                if not self._room:
                    break
                self._bell = loop.create_future()
                alarm = loop.call_later(nap, self.ring)
                try:
                    await self._bell
                finally:
                    alarm.cancel()
        finally:
            self.settle(-sum(cost for _, cost in self._moments))
            self._moments.clear()

    def _look(self) -> float:
        """Let through whose turn it is; how long to wait before the next look."""
        now = self._clock()
        reason, wait = self.closed(now)
        if self._stopping():
            self._turn_away("the worker stops", 0.0)
        elif wait > PATIENT_S:
            self._turn_away(reason, wait)
        self._drop_gone(now)
        if wait:
            return min(wait, NAP_S)
        return self._let_in(now) if self.limits is None else self._let_in_by_limits(self.limits, now)

    def _let_in(self, now: float) -> float:
        while self._room and self._let_first_in(now, self._room[0].cost):
            pass
        return CROWDED_S

    def _let_in_by_limits(self, limits: Limits, now: float) -> float:
        moments = self._moments
        while self._room and moments and moments[0][0] <= now:
            moment, cost = moments[0]
            if now - moment > limits.late_s:
                self.settle(-cost)
            elif not self._let_first_in(now, cost):
                return CROWDED_S / 5
            moments.popleft()
        self._ask_for_more(limits, now)
        return min(max(moments[0][0] - now, 0.0005), NAP_S) if moments else max(min(self._ask_at - now, NAP_S), 0.005)

    def _ask_for_more(self, limits: Limits, now: float) -> None:
        moments = self._moments
        if self._asking is not None or now < self._ask_at or (moments and moments[-1][0] - now > ASK_AHEAD_S):
            return
        wanted = min(len(self._room), self.gate.free(now)) - len(moments)
        if wanted <= 0:
            self._ask_at = now + CROWDED_S
            return
        costs = [waiter.cost for waiter in islice(self._room, len(moments), len(moments) + wanted)]
        self._asking = asyncio.create_task(self._ask(limits, costs))

    async def _ask(self, limits: Limits, costs: list[int]) -> None:
        settled, self._settled = self._settled, 0
        try:
            grant: Grant = await self._in_db(rates.take, limits, costs, settled)
        except Exception as error:
            self._settled += settled
            self._fail(error)
            return
        finally:
            self._asking = None
            self.ring()
        now = self._clock()
        self._moments.extend(zip(grant.moments, costs, strict=False))
        self._ask_at = now + max(ASK_EVERY_S, grant.retry_in * random.uniform(1, 1.05))
        if grant.blocked_in:
            self.gate.hold(now, grant.blocked_in)

    def _settle_now(self) -> None:
        self._settling = None
        if self._settled and self._asking is None and self.limits is not None:
            self._asking = asyncio.create_task(self._ask(self.limits, []))

    def _let_first_in(self, now: float, cost: int) -> bool:
        """Whether the first in the queue went through."""
        address = self.enter(now, self._room[0].affinity)
        if address is None:
            return False
        self._leave_room().turn.set_result(Turn(address, now, cost))
        self._drop_gone(now)
        return True

    def _drop_gone(self, now: float) -> None:
        """Who was cancelled, or waited too long, at the head of the queue."""
        while self._room:
            if not self._room[0].turn.cancelled():
                if now - self._room[0].since <= LONGEST_WAIT_S:
                    return
                held = HeldBackError("rate_limit: no turn for it yet", 1.0)
                self._room[0].turn.set_exception(held)
            self._leave_room()

    def _turn_away(self, reason: str, retry_in: float) -> None:
        while self._room:
            waiter = self._leave_room()
            if not waiter.turn.done():
                waiter.turn.set_exception(HeldBackError(reason, retry_in))
        self.ring()

    def _fail(self, error: Exception) -> None:
        """The limits could not be asked: a matter for the pump, as every error of its database."""
        while self._room:
            waiter = self._leave_room()
            if not waiter.turn.done():
                waiter.turn.set_exception(error)

    def _leave_room(self) -> Waiter:
        self.gate.queue(-1)
        return self._room.popleft()

    def _per_second(self, limits: Limits) -> float:
        found = limits.requests / limits.period_s if limits.requests else float(self.endpoint.max_in_flight)
        if limits.tokens and self._room:
            found = min(found, limits.tokens / limits.period_s / max(1, self._room[0].cost))
        return found


def limits_of(endpoint: EndpointConfig) -> Limits | None:
    if endpoint.requests_per_minute is None and endpoint.tokens_per_minute is None:
        return None
    return Limits(endpoint.limit_key, endpoint.requests_per_minute, endpoint.tokens_per_minute)
