"""The batch pump: fills batches from a lane's tasks, sends them, follows them and takes their results."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection

from apps.pipeline.config import EndpointConfig
from apps.pipeline.models import BatchJob, BatchState
from apps.pipeline.protocol import TRANSIENT, HeldBackError, ModelError
from apps.reasoning.models import RunState
from workers import leases
from workers.batch import jobs, results
from workers.batch.provider import Provider, View
from workers.batch.wake import SLOT, ready_tasks
from workers.planning import Planner

log = logging.getLogger(__name__)
T = TypeVar("T")

LIFE_S = 300.0  # then it sends itself again
IDLE_S = 1.5  # without batches and without work
MOST_OPEN = 8  # batches of a lane away at once
REFUSALS = 3  # of a file, before its requests are set aside
REFUSED_PAUSE_S = 60.0
LONGEST_GATHERING = 30  # times BATCH_GATHER_S, while new work keeps coming
ACCOUNT = (401, 403, 429)  # refused for the account's sake, not the file's: a person puts it right, and it leaves then
FULL_QUEUE = "token_limit_exceeded"  # the provider holds as many tokens of ours as it takes: it is nobody's failure


@dataclass(slots=True)
class Gathering:
    """Ready tasks of a run that are waiting for company."""

    count: int
    since: float
    changed: float


class BatchPump:
    def __init__(self, lane: str, resolve: Callable[[EndpointConfig], str], stop: Callable[[], bool]) -> None:
        self.lane = lane
        self.resolve = resolve
        self.stop = stop
        self.planner = Planner(lane)
        self.own = uuid.UUID(int=0)
        self.lost = False
        self.providers: dict[EndpointConfig, Provider] = {}
        self.due: dict[uuid.UUID, float] = {}  # when a batch is looked at next
        self.pause: dict[uuid.UUID, float] = {}
        self.gathering: dict[int, Gathering] = {}
        self.count_at = 0.0

    def run(self) -> bool:
        """Until nothing is away and nothing ready, stopped or old; True when it stopped of age."""
        self.db = ThreadPoolExecutor(1, thread_name_prefix=f"batch-{self.lane}")
        self.pulse = ThreadPoolExecutor(1, thread_name_prefix=f"beat-{self.lane}")  # a long write must not stop it
        try:
            return asyncio.run(self._main())
        finally:
            for threads in (self.db, self.pulse):
                threads.submit(lambda: connection.close()).result()
                threads.shutdown()

    async def _main(self) -> bool:
        own = await self._in_db(leases.claim_pump, self.lane, SLOT)
        if own is None:
            return False
        self.own = own
        beating = asyncio.create_task(self._beat())
        try:
            return await self._pump()
        except jobs.LeaseLostError:
            log.warning("%s: lease lost; its batches go to another pump", self.lane)
            return False
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            for provider in self.providers.values():
                await provider.close()
            await self._in_db(leases.release_pump, own)

    async def _beat(self) -> None:
        while not self.lost:
            await asyncio.sleep(leases.HEARTBEAT_S)
            self.lost = not await asyncio.get_running_loop().run_in_executor(self.pulse, self._beat_once)

    def _beat_once(self) -> bool:
        close_old_connections()
        return leases.beat(self.own)

    async def _pump(self) -> bool:
        born = last_work = time.monotonic()
        while not self._over(born):
            away = await self._in_db(jobs.open_jobs, self.lane)
            for job in away:
                if time.monotonic() >= self.due.get(job.pk, 0) and not self._over(born):
                    await self._advance(job)
            if await self._gather(len(away)) or away:
                last_work = time.monotonic()
            elif time.monotonic() - last_work > IDLE_S and not self.gathering:
                return False
            await asyncio.sleep(min(1.0, settings.BATCH_POLL_S / 10))
        return not self.stop()

    def _over(self, born: float) -> bool:
        if self.lost:
            raise jobs.LeaseLostError
        return self.stop() or time.monotonic() - born > LIFE_S

    async def _gather(self, away: int) -> bool:
        """Fill a batch for a run whose work has come to rest, waited long, or fills a file. True when one was made."""
        now = time.monotonic()
        if now < self.count_at:
            return False
        self.count_at = now + settings.BATCH_GATHER_S / 4
        ready = await self._in_db(ready_tasks, self.lane)
        self.gathering = {run: self._gathered(self.gathering.get(run), count, now) for run, count in ready.items()}
        made = False
        for run, waiting in self.gathering.items():
            if away < MOST_OPEN and await self._is_ripe(run, waiting, now):
                job = await self._in_db(jobs.fill_job, self.planner, run, self.own)
                made, away = made or job is not None, away + (job is not None)
        return made

    def _gathered(self, before: Gathering | None, count: int, now: float) -> Gathering:
        if before is None:
            return Gathering(count, now, now)
        return Gathering(count, before.since, before.changed if count == before.count else now)

    async def _is_ripe(self, run: int, waiting: Gathering, now: float) -> bool:
        context = await self._in_db(self.planner.context, run)
        pause = settings.BATCH_GATHER_S
        full = waiting.count >= context.config.endpoint(self.lane.partition("@")[2]).batch_requests
        return full or now - waiting.changed >= pause or now - waiting.since >= LONGEST_GATHERING * pause

    async def _advance(self, job: BatchJob) -> None:
        """One step with a batch. What the provider refuses for good goes back; everything else is tried again later."""
        try:
            provider = await self._provider(job)
            if job.state == BatchState.PREPARED:
                await self._send(job, provider)
            else:
                await self._follow(job, provider)
        except (ModelError, HeldBackError) as error:
            log.warning("%s: batch %s: %s", self.lane, job.pk, error)
            await self._in_db(jobs.note_error, job, str(error))
            self._look_later(job, error.retry_after if isinstance(error, ModelError) else error.retry_in)

    async def _send(self, job: BatchJob, provider: Provider) -> None:
        """Upload and create, unless a pump that died had come so far: the provider's list tells."""
        made = await provider.find(str(job.pk), job.created_at) if job.file_id else None
        if made is None:
            if job.run.state != RunState.RUNNING:
                await self._in_db(jobs.return_tasks, job, self.own, "", patient=True)
                return
            try:
                made = await self._create(job, provider)
            except ModelError as error:
                if error.error_class in TRANSIENT or error.status in ACCOUNT:
                    raise
                await self._refused(job, error)
                return
        await self._in_db(jobs.note_view, job, made, self.own)
        self._look_later(job, None)

    async def _create(self, job: BatchJob, provider: Provider) -> View:
        if not job.file_id:
            with tempfile.TemporaryFile() as file:
                await self._in_db(jobs.write_file, job, provider.url, file)
                file_id = await provider.upload(file, f"workbench-{job.pk}.jsonl")
            await self._in_db(jobs.note_file, job, file_id, self.own)
        return await provider.create(job.file_id, str(job.pk))

    async def _follow(self, job: BatchJob, provider: Provider) -> None:
        try:
            view = await provider.retrieve(job.batch_id)
        except ModelError as error:
            if error.status != 404 or job.run.state != RunState.CANCELLED:
                raise
            # what the provider does not know of a run that nobody wants is given up, and booked as unknown
            await self._in_db(jobs.end_job, job, self.own, BatchState.FAILED, error.message)
            return
        if job.run.state == RunState.CANCELLED and view.status in ("validating", "in_progress"):
            view = await provider.cancel(job.batch_id)
        moved = view.status != job.status
        await self._in_db(jobs.note_view, job, view, self.own)
        if not view.ended:
            self._look_later(job, None, moved=moved)
        elif view.status == "failed":
            await self._refused(job, ModelError("refused", view.words or "the provider refused the file"), view.codes)
        else:
            await self._take(job, provider, view)

    async def _take(self, job: BatchJob, provider: Provider, view: View) -> None:
        """Everything that the provider did and did not do with it, into the ledger; begun before or not."""
        taker = results.Taker(self.planner, job, self.own)
        replied = 0
        for file_id in filter(None, (view.output_file, view.error_file)):
            replied += await self._take_file(taker, provider, file_id)
        while await self._in_db(taker.take_rest, results.lost(paid=(view.completed or 0) > replied)):
            self._check_lost()
        await self._in_db(jobs.end_job, job, self.own, BatchState.TAKEN, taker.found.words)
        for file_id in filter(None, (view.output_file, view.error_file, job.file_id)):
            with suppress(ModelError):  # they are the provider's to keep, and expire there
                await provider.delete(file_id)

    async def _take_file(self, taker: results.Taker, provider: Provider, file_id: str) -> int:
        """Returns how many of its lines are replies."""
        replied = 0
        with tempfile.TemporaryFile() as file:
            try:
                await provider.download(file_id, file)
            except ModelError as error:
                if error.status not in (404, 410):
                    raise
                log.warning("%s: batch %s: the file %s is gone", self.lane, taker.job.pk, file_id)
                return 0
            file.seek(0)
            lines = results.read_lines(file, provider.secret)
            while chunk := list(islice(lines, results.CHUNK)):
                self._check_lost()
                replied += sum(line is not None and not isinstance(line.outcome, ModelError) for line in chunk)
                await self._in_db(taker.take, chunk)
        return replied

    async def _refused(self, job: BatchJob, error: ModelError, codes: tuple[str, ...] = ()) -> None:
        """The provider would not take the file: too large, its queue full, or wrong, and then three times at most."""
        if error.status == 413 and await self._in_db(jobs.split_job, job, self.own):
            return
        if FULL_QUEUE in codes:
            await self._in_db(jobs.return_tasks, job, self.own, error.message, pause_s=REFUSED_PAUSE_S, patient=True)
        elif await self._in_db(results.refused_before, job) < REFUSALS - 1:
            await self._in_db(jobs.return_tasks, job, self.own, error.message, pause_s=self._refused_pause())
        else:
            taker = results.Taker(self.planner, job, self.own)
            while await self._in_db(taker.take_rest, error):
                self._check_lost()
            await self._in_db(jobs.end_job, job, self.own, BatchState.FAILED, error.message)

    def _refused_pause(self) -> float:
        return min(REFUSED_PAUSE_S, 6 * settings.BATCH_POLL_S)

    def _look_later(self, job: BatchJob, named: float | None, *, moved: bool = False) -> None:
        first = settings.BATCH_POLL_S
        pause = first if moved else min(2 * self.pause.get(job.pk, first / 2), 6 * first)
        self.pause[job.pk] = pause
        self.due[job.pk] = time.monotonic() + max(pause, named or 0)

    def _check_lost(self) -> None:
        if self.lost:
            raise jobs.LeaseLostError

    async def _provider(self, job: BatchJob) -> Provider:
        context = await self._in_db(self.planner.context, job.run_id)
        endpoint = context.config.endpoint(self.lane.partition("@")[2])
        if endpoint not in self.providers:
            self.providers[endpoint] = Provider(endpoint, await asyncio.to_thread(self.resolve, endpoint))
        return self.providers[endpoint]

    async def _in_db(self, function: Callable[..., T], *args: Any, **words: Any) -> T:
        def call() -> T:
            close_old_connections()
            return function(*args, **words)

        return await asyncio.get_running_loop().run_in_executor(self.db, call)
