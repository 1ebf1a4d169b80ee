"""What a pump sends through: the backend behind the limits of its endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import Backend, HeldBackError, ModelError, Reply, Request
from workers.limits import rates
from workers.limits.door import Door

InDb = Callable[..., Awaitable[Any]]
DEFAULT_IN_FLIGHT = 64  # until the endpoint is known
LOOK_S = 1.0  # between looks at the endpoint's addresses
COUNT_S = 5.0  # between counts of the processes that share the endpoint
REST_S = 0.4  # after a 429 that names no time, as `attempts` does


class Channel:
    """One for each pump, in its event loop. `in_db` runs a function in the pump's database thread; `replicas` names the
    addresses of an endpoint and must not block. A call that may be sent at once takes no lock but the gate's.
    """

    def __init__(
        self,
        lane: str,
        backend: Backend,
        in_db: InDb,
        stopping: Callable[[], bool],
        replicas: Callable[[EndpointConfig], list[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lane = lane
        self.backend = backend
        self._in_db = in_db
        self._stopping = stopping
        self._replicas = replicas or own_addresses
        self._clock = clock
        self._doors: dict[EndpointConfig, Door] = {}
        self._errands: set[asyncio.Future[None]] = set()

    async def send(self, request: Request) -> Reply:
        """The reply, when the limits let the request through. Raises ModelError for an attempt that failed, and
        HeldBackError where nothing was sent: the model is away, its turn does not come, or the worker stops."""
        door = self._doors.get(request.endpoint) or self.watch(request.endpoint)
        now = self._clock()
        if now >= door.look_at:
            self._look(door, now)
        reserved = 0
        address = door.enter(now, request.affinity) if door.at_once else None
        if address is None:
            address, now, reserved = await door.turn(request)
        if address != request.endpoint.base_url:
            request = replace(request, base_url=address)
        door.sent += 1
        try:
            reply = await self.backend.complete(request)
        except ModelError as error:
            self._failed(door, request, address, now, error)
            if not error.maybe_billed:
                door.settle(-reserved)
            raise
        except HeldBackError:
            door.gate.abandoned(address, now)
            door.settle(-reserved)
            raise
        except BaseException:
            door.gate.abandoned(address, now)
            raise
        finally:
            door.sent -= 1
            door.ring()
        door.gate.succeeded(address, now, self._clock())
        if door.limits is not None:
            door.note_reply(reply, now, reserved)
        return reply

    def watch(self, endpoint: EndpointConfig) -> Door:
        """Say that the endpoint's work is at hand, so that `limit` and `open` speak of it."""
        door = self._doors.get(endpoint)
        if door is None:
            door = self._doors[endpoint] = Door(self.lane, endpoint, self._in_db, self._stopping, self._clock)
            self._look(door, self._clock())
        return door

    @property
    def limit(self) -> int:
        """How many items to keep in flight now, those that wait for their turn or rest after a 429 included."""
        now = self._clock()
        return max((door.limit(now) for door in self._doors.values()), default=DEFAULT_IN_FLIGHT)

    @property
    def open(self) -> bool:
        return self.retry_in == 0

    @property
    def retry_in(self) -> float:
        """Seconds until something may be sent; 0: now."""
        now = self._clock()
        for door in self._doors.values():
            if now >= door.look_at:
                self._look(door, now)
        return min((door.closed(now)[1] for door in self._doors.values()), default=0.0)

    async def close(self) -> None:
        """Turn away who still waits and settle the tokens. The backend stays open: it is the caller's."""
        for door in self._doors.values():
            await door.close()
        for errand in self._errands:
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)

    def _failed(self, door: Door, request: Request, address: str, sent_at: float, error: ModelError) -> None:
        now = self._clock()
        if error.error_class == "rate_limit":
            wait = door.gate.refused(address, sent_at, now, error.retry_after or 0.0)
            door.rest(now, error.retry_after or REST_S)
            if wait:
                self._run(self._in_db(rates.block, door.key, wait))
            elif now >= door.ask_blocked_at:
                door.ask_blocked_at = now + LOOK_S
                self._run(self._learn_block(door))
        elif error.error_class in ("connection", "server"):
            door.gate.failed(address, sent_at, now, error.message[:120])
            door.avoid_address(request.affinity, address)
        elif error.error_class == "access":
            door.gate.barred(address, sent_at, now, error.message[:120])
            door.avoid_address(request.affinity, address)
        else:
            door.gate.succeeded(address, sent_at, now)

    def _look(self, door: Door, now: float) -> None:
        door.look_at = now + LOOK_S
        door.addresses = self._replicas(door.endpoint)
        if now >= door.count_at:
            door.count_at = now + COUNT_S
            self._run(self._count(door))

    async def _count(self, door: Door) -> None:
        door.gate.set_ceiling(processes=await self._in_db(rates.processes_on, door.endpoint.name))

    async def _learn_block(self, door: Door) -> None:
        if wait := await self._in_db(rates.blocked_for, door.key):
            door.gate.hold(self._clock(), wait)

    def _run(self, errand: Awaitable[None]) -> None:
        """Beside the calls; a database that is away is noticed by whoever needs it next."""
        task = asyncio.ensure_future(errand)
        self._errands.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled():
            task.exception()


def own_addresses(endpoint: EndpointConfig) -> list[str]:
    return [endpoint.base_url, *endpoint.replicas]
