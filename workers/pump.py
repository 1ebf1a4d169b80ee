"""A pump: keeps a lane's calls in flight for a few minutes and writes results back in bulk."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from apps.pipeline.protocol import Backend
from apps.pipeline.store import Batch, Finished, flush
from apps.reasoning.policy.assess import Item
from apps.reasoning.rows import int_array
from workers import leases
from workers.attempts import Result, settle_item
from workers.channel import DEFAULT_IN_FLIGHT, Channel
from workers.loop import run_in_loop
from workers.planning import Planner, Unit
from workers.purse import Purse
from workers.simulation import addresses_of

log = logging.getLogger(__name__)
T = TypeVar("T")

FLUSH_S = 0.5  # the next lane cannot begin before
FLUSH_ROWS = 500
LOW_WATER = 2  # times the calls in flight: items at hand while a flush keeps the database thread
LIFE_S = 300.0  # then it drains and sends itself again
IDLE_S = 1.5  # without work
DRY_S = 0.25  # until a lane without work is looked at again: other lanes bring it by the flush, few at a time cost more
AWAY_S = 60.0  # that the database may be away; then the pump gives up, and its calls are made again
AGAIN_S = 0.5


class LeaseLostError(RuntimeError):
    """Another took over: nothing of ours may be written but the calls."""


class Pump:
    def __init__(self, lane: str, slot: int, make_backend: Callable[[], Backend], stop: Callable[[], bool]) -> None:
        self.lane = lane
        self.slot = slot
        self.make_backend = make_backend
        self.stop = stop
        self.planner = Planner(lane)
        self.waiting: deque[tuple[Unit, Item]] = deque()
        self.flying: set[asyncio.Task[Result]] = set()
        self.landed: deque[asyncio.Task[Result]] = deque()
        self.wake = asyncio.Event()
        self.batches: dict[int, Batch] = {}
        self.channel: Channel | None = None
        self.purse: Purse | None = None
        self.flushing: asyncio.Future[None] | None = None

    @property
    def limit(self) -> int:
        """Items to keep going now: what the endpoint takes, as its channel finds out."""
        return self.channel.limit if self.channel else DEFAULT_IN_FLIGHT

    def run(self) -> bool:
        """Pump until idle, stopped or old; True when it stopped of age with work left."""
        self.db = ThreadPoolExecutor(1, thread_name_prefix=f"db-{self.lane}")
        try:
            return run_in_loop(self._main())
        finally:
            self.db.submit(lambda: connection.close()).result()  # the proxy must resolve in that thread
            self.db.shutdown()

    async def _main(self) -> bool:
        token = await self._in_db(self._claim)
        if token is None:
            return False
        backend = self.make_backend()
        try:
            return await self._pump(token, backend)
        except LeaseLostError:
            log.warning("%s: lease lost; its work goes to another pump", self.lane)
            return False
        finally:
            await self._abandon()
            await backend.close()
            await self._in_db(leases.release_pump, token)

    async def _abandon(self) -> None:
        """Nothing of this pump goes on in the loop that it shares with others."""
        left: list[asyncio.Future[Any]] = [*self.flying]
        if self.flushing:
            left.append(self.flushing)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self.purse:
            await self.purse.close()
        if self.channel:
            await self.channel.close()

    async def _pump(self, token: uuid.UUID, backend: Backend) -> bool:
        born = last_beat = last_flush = last_work = time.monotonic()
        dry_until = 0.0
        channel = self.channel = Channel(self.lane, backend, self._in_db, self.stop, addresses_of)
        purse = self.purse = Purse(token, self._in_db)
        while True:
            now = time.monotonic()
            old = now - born > LIFE_S or self.stop()
            if self.flushing is not None and self.flushing.done():
                self.flushing.result()
                self.flushing = None
            limit, may_send = self.limit, channel.open
            if (
                not old
                and self.flushing is None
                and now >= dry_until
                and len(self.waiting) < LOW_WATER * limit
                and may_send
            ):
                if await self._lease(token, limit):
                    last_work = time.monotonic()
                else:
                    dry_until = now + DRY_S
            if old:
                self._drop_waiting()
            while self.waiting and len(self.flying) < limit and may_send:
                unit, item = self.waiting.popleft()
                task = asyncio.create_task(settle_item(unit, item, channel, purse, self.stop))
                task.add_done_callback(self._land)
                self.flying.add(task)
            due = now - last_flush >= FLUSH_S or sum(b.rows for b in self.batches.values()) >= FLUSH_ROWS
            idle = not self.flying and not self.landed and not self.waiting
            if self.batches and self.flushing is None and (due or idle):
                self.flushing = asyncio.ensure_future(self._flush(token))
                self.flushing.add_done_callback(lambda _: self.wake.set())
                last_flush = now
            if now - last_beat >= leases.HEARTBEAT_S and self.flushing is None:
                if not await self._patiently(leases.beat, token):
                    raise LeaseLostError
                last_beat = now
                await self._drop_paused()
            if idle and not self.batches and self.flushing is None and (old or now - last_work > IDLE_S):
                return old and not self.stop()
            await self._wait()

    async def _wait(self) -> None:
        """Until a call or the flush is done, at most a moment. Each task wakes the loop itself: `asyncio.wait` would look at
        all calls in flight for each that is done."""
        alarm = asyncio.get_running_loop().call_later(0.1 if self.flying else 0.05, self.wake.set)
        await self.wake.wait()
        alarm.cancel()
        self.wake.clear()
        while self.landed:
            self._take(self.landed.popleft().result())

    def _land(self, task: asyncio.Task[Result]) -> None:
        self.flying.discard(task)
        if not task.cancelled():
            self.landed.append(task)
            self.wake.set()

    async def _lease(self, token: uuid.UUID, limit: int) -> bool:
        assert self.channel is not None
        units = await self._patiently(self.planner.lease_units, token, max(limit // 2, 8))
        for unit in units:
            if not unit.items:
                self._finish(unit)
            for item in unit.items:
                self.waiting.append((unit, item))
            self.channel.watch(unit.context.config.endpoint(self.lane.split("@")[1]))
        return bool(units)

    def _take(self, result: Result) -> None:
        unit = result.unit
        batch = self._batch(unit)
        batch.calls += result.calls
        batch.released += result.released
        if result.output is not None:
            batch.outputs.append((result.output, result.calls[-1].id))
        if result.failure is not None:
            batch.failures.append(result.failure)
        if result.deferred:
            unit.defer(result.deferred, patient=result.patient, retry_in=result.retry_in)
        unit.left -= 1
        if unit.left == 0:
            self._finish(unit)

    def _finish(self, unit: Unit) -> None:
        pause: float | None = None
        if unit.deferred:
            pause = unit.retry_in if unit.retry_in is not None else min(2**unit.lease.attempts, 60)
        self._batch(unit).finished.append(
            Finished(unit.lease.task, unit.lease.seen, pause, unit.deferred, unit.patient)
        )

    def _drop_waiting(self) -> None:
        """Items not sent yet go back with their tasks, at once."""
        for unit, _item in self.waiting:
            unit.left -= 1
            unit.defer(unit.deferred or "handed on", patient=True, retry_in=0)
            if unit.left == 0:
                self._finish(unit)
        self.waiting.clear()

    def _batch(self, unit: Unit) -> Batch:
        run = unit.context.run
        return self.batches.setdefault(run.pk, Batch(run))

    async def _flush(self, token: uuid.UUID) -> None:
        batches, self.batches = self.batches, {}
        for batch in sorted(batches.values(), key=lambda b: b.run.pk):
            if not await self._save(batch, token):
                raise LeaseLostError
        await self._drop_paused()

    async def _drop_paused(self) -> None:
        if self.waiting:
            paused: bool = await self._in_db(self._any_paused)
            if paused:
                self._drop_waiting()

    def _claim(self) -> uuid.UUID | None:
        return leases.claim_pump(self.lane, self.slot, alone=True)

    async def _save(self, batch: Batch, token: uuid.UUID) -> bool:
        """What was paid for is not thrown away because the database is away for a moment."""
        tried = False

        def write() -> bool:
            nonlocal tried
            again, tried = tried, True
            return flush(batch, lane=self.lane, lease=token, worker=leases.worker_name(), again=again)

        return await self._patiently(write)

    async def _patiently(self, function: Callable[..., T], *args: Any) -> T:
        """Once more while the database is away, as long as a restart takes. Only for what may be done twice."""
        deadline = time.monotonic() + AWAY_S
        while True:
            try:
                return await self._in_db(function, *args)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("%s: the database is away: %s", self.lane, str(error).split("\n")[0])
                await asyncio.sleep(AGAIN_S)

    def _any_paused(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM reasoning_run WHERE id = ANY(%s::bigint[]) AND state IN ('paused', 'cancelled') LIMIT 1",
                [int_array(self.planner.contexts)],
            )
            return cursor.fetchone() is not None

    async def _in_db(self, function: Callable[..., T], *args: Any) -> T:
        def call() -> T:
            close_old_connections()
            return function(*args)

        return await asyncio.get_running_loop().run_in_executor(self.db, call)
