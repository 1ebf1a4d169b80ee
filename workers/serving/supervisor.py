"""All servers of a configuration: claimed in the ledger, kept up side by side or in turns, stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from django.db import close_old_connections, connection

from apps.pipeline.config import EndpointConfig, RunConfig
from apps.pipeline.models import ModelServer, ServerState
from apps.questions.models import Project
from workers.serving import rows
from workers.serving.command import check_endpoint, find_python, serve_of
from workers.serving.processes import kill_leftovers
from workers.serving.replica import Replica, Timing, wait_for
from workers.serving.rotation import Patience, Turns, stage_order

log = logging.getLogger(__name__)
T = TypeVar("T")

HEARTBEAT_S = 5.0
FORGIVEN_S = 600.0  # an endpoint that did not come up is tried again in its turn after so long
ANYWHERE = frozenset(("0.0.0.0", "::"))  # noqa: S104 - addresses that name no host to others


@dataclass(frozen=True, slots=True)
class Options:
    var: Path
    first_replica: int = 0
    advertise: str = ""  # the name by which workers on other hosts reach this one
    timing: Timing = field(default_factory=Timing)
    patience: Patience = field(default_factory=Patience)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Supervisor:
    """Raises ServeError (its configuration) and TakenError (another supervisor) before anything is started."""

    def __init__(
        self,
        config: RunConfig,
        endpoints: Sequence[EndpointConfig],
        *,
        project: Project,
        options: Options,
        say: Callable[[str], None],
    ) -> None:
        for endpoint in endpoints:
            check_endpoint(endpoint, options.environ)
        self.config, self.endpoints, self.project, self.options, self.say = config, endpoints, project, options, say
        self.python = find_python(options.environ)
        self.db = ThreadPoolExecutor(1, thread_name_prefix="serving-db")
        self.replicas: dict[str, list[Replica]] = {e.name: self._replicas_of(e) for e in endpoints}
        self.rows: dict[str, ModelServer] = {}
        self.stop = asyncio.Event()
        self._quiet = False  # the ledger is away, and that was said

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Then no server is left."""
        try:
            asyncio.run(self._main())
        finally:
            self.db.submit(lambda: connection.close()).result()
            self.db.shutdown()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup outlives its terminal
                loop.add_signal_handler(number, self.stop.set)
        await self._claim()
        keepers = [self._guarded(self._beat())]
        for group, members in self._groups().items():
            if group:
                keepers.append(self._guarded(self._take_turns(group, members)))
            else:
                keepers += [self._guarded(r.run(self.stop)) for e in members for r in self.replicas[e.name]]
        failed = [error for error in await asyncio.gather(*keepers, return_exceptions=True) if error]
        if failed:
            raise failed[0]

    async def _guarded(self, work: Any) -> None:
        """One that fails in a way nobody foresaw stops all, so that nothing runs unwatched."""
        try:
            await work
        except BaseException:
            self.stop.set()
            raise

    async def _claim(self) -> None:
        for replica in self._all():
            row, left = await self._in_db(self._claim_one, replica)
            self.rows[replica.name] = row
            if killed := await asyncio.to_thread(kill_leftovers, replica.mark, left):
                replica.say(f"{killed} processes of a server that nobody looked after were ended")

    def _claim_one(self, replica: Replica) -> tuple[ModelServer, int | None]:
        endpoint = replica.endpoint
        return rows.claim(project=self.project, endpoint=endpoint.name, replica=replica.number, model=endpoint.model)

    async def _beat(self) -> None:
        while not self.stop.is_set():
            await self._try_db(rows.beat, list(self.rows.values()))
            await wait_for(self.stop, HEARTBEAT_S)

    async def _publish(self, replica: Replica) -> None:
        kept = await self._try_db(rows.write, self.rows[replica.name], replica.status.fields())
        if kept is False and not self.stop.is_set():
            self.say(f"{replica.name}: another serve_models has taken it over; stopping")
            self.stop.set()

    async def _take_turns(self, group: str, members: Sequence[EndpointConfig]) -> None:
        """Serve the endpoints of one group one after the other, each until its lanes are empty."""
        turns = Turns(stage_order(self.config, [e.name for e in members]), self.options.patience)
        turn: Turn | None = None
        forgiven_at: dict[str, float] = {}
        self.say(f"{group}: waiting for a run with work for {', '.join(turns.order)}")
        try:
            while not self.stop.is_set():
                now = time.monotonic()
                if turn is not None:
                    turn.check()
                    if any(r.failing for r in self.replicas[turn.endpoint]):
                        forgiven_at.setdefault(turn.endpoint, now + FORGIVEN_S)
                    elif any(r.status.state == ServerState.READY for r in self.replicas[turn.endpoint]):
                        forgiven_at.pop(turn.endpoint, None)
                forgiven_at = {name: at for name, at in forgiven_at.items() if at > now}
                work = await self._try_db(rows.work_for, self.project, members)
                if work is not None:
                    chosen = turns.choose(work, now, forgiven_at.keys())
                    if chosen is not None and (turn is None or turn.endpoint != chosen):
                        turn = await self._hand_over(group, turn, chosen, work)
                await wait_for(self.stop, min(self.options.timing.poll_s, HEARTBEAT_S))
        finally:
            if turn is not None:
                await turn.end()

    async def _hand_over(self, group: str, turn: Turn | None, to: str, work: Mapping[str, int]) -> Turn:
        if turn is not None:
            await turn.end()
        said = ", ".join(f"{name} {n}{'+' if n >= rows.MOST_COUNTED else ''}" for name, n in work.items() if n)
        self.say(f"{group}: {to} has its turn (tasks: {said})")
        return Turn(to, self.replicas[to])

    async def _try_db(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """The ledger may be away for a while: the servers go on. None then."""
        try:
            found = await self._in_db(function, *arguments)
        except Exception as error:
            if not self._quiet:
                self.say(f"the database does not answer ({str(error).splitlines()[0]}); the servers go on")
                log.debug("serve_models", exc_info=True)
            self._quiet = True
            return None
        self._quiet = False
        return found

    async def _in_db(self, function: Callable[..., T], *arguments: Any) -> T:
        def call() -> T:
            close_old_connections()
            return function(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self.db, call)

    def _groups(self) -> dict[str, list[EndpointConfig]]:
        """{rotation group: its endpoints}; "" holds those that are served all the time."""
        groups: dict[str, list[EndpointConfig]] = {}
        for endpoint in self.endpoints:
            groups.setdefault(serve_of(endpoint).rotate, []).append(endpoint)
        return groups

    def _all(self) -> list[Replica]:
        return [replica for replicas in self.replicas.values() for replica in replicas]

    def _replicas_of(self, endpoint: EndpointConfig) -> list[Replica]:
        serve, options = serve_of(endpoint), self.options
        advertise = options.advertise or (socket.getfqdn() if serve.host in ANYWHERE else serve.host)
        return [
            Replica(
                endpoint,
                options.first_replica + place,
                place,
                python=self.python,
                mark=f"{options.var}|{self.project.slug}|{endpoint.name}|{options.first_replica + place}",
                log=options.var / "serving" / f"{endpoint.name}-{options.first_replica + place}.log",
                advertise=advertise,
                timing=options.timing,
                publish=self._publish,
                say=self.say,
                environ=options.environ,
            )
            for place in range(serve.replicas)
        ]


class Turn:
    """An endpoint's servers while it has its turn."""

    def __init__(self, endpoint: str, replicas: Sequence[Replica]) -> None:
        self.endpoint = endpoint
        self._stop = asyncio.Event()
        self._tasks = [asyncio.ensure_future(replica.run(self._stop)) for replica in replicas]

    def check(self) -> None:
        """Raise what ended one of them in a way nobody foresaw."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self) -> None:
        """Stop its servers; the devices are free afterwards."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
