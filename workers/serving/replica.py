"""One replica of an endpoint: its server is started, waited for, watched, and started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from apps.pipeline.config import EndpointConfig
from apps.pipeline.models import ServerState
from workers.serving import words
from workers.serving.command import build_argv, build_env, devices_of, key_of, serve_of
from workers.serving.metrics import HISTORY, Metrics, next_reading, shorten
from workers.serving.probes import Probe, open_session
from workers.serving.processes import GRACE_S, ServerProcess

FAILING_AFTER = 3  # starts in a row that came to nothing


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, but for `hang_checks`."""

    poll_s: float = 5.0  # between health checks of a server that is ready
    start_poll_s: float = 1.0
    start_timeout_s: float = 1800.0  # a 70B model from a slow disk takes a quarter of an hour
    progress_s: float = 15.0
    hang_checks: int = 5  # unanswered in a row
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    settled_s: float = 120.0  # ready for so long: the next death is a new story
    grace_s: float = GRACE_S


@dataclass(slots=True)
class Backoff:
    """Pauses before a server is started again: 1, 2, 4 … 60 s; from 1 s again once it was ready for a while."""

    timing: Timing
    failures: int = 0

    def after(self, ready_for_s: float) -> float:
        if ready_for_s >= self.timing.settled_s:
            self.failures = 0
        pause = min(self.timing.first_pause_s * 2.0 ** min(self.failures, 30), self.timing.longest_pause_s)
        self.failures += 1
        return pause


@dataclass(slots=True)
class Status:
    """What the row of ModelServer shows of it."""

    state: str = ServerState.STOPPED
    url: str = ""
    pid: int | None = None
    restarts: int = 0
    last_error: str = ""
    log_tail: str = ""
    metrics: Metrics = field(default_factory=dict)
    history: list[Metrics] = field(default_factory=list)
    started_at: datetime | None = None  # ready since

    def take(self, reading: Metrics) -> None:
        if self.metrics:
            self.history = [*self.history, shorten(self.metrics)][-HISTORY:]
        self.metrics = reading

    def fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Replica:
    """`number` names the row, `place` counts this host's replicas from 0 and so picks port and devices.

    `publish` writes a Status to the ledger and never raises; `say` tells the terminal.
    """

    def __init__(
        self,
        endpoint: EndpointConfig,
        number: int,
        place: int,
        *,
        python: str,
        mark: str,
        log: Path,
        advertise: str,
        timing: Timing,
        publish: Callable[[Replica], Any],
        say: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.endpoint, self.number, self.place = endpoint, number, place
        self.serve = serve_of(endpoint)
        self.python, self.mark, self.log, self.advertise = python, mark, log, advertise
        self.timing, self._publish, self._say, self._environ = timing, publish, say, environ
        self.secret = key_of(endpoint, environ)
        self.status = Status()
        self.backoff = Backoff(timing)
        self.in_vain = 0  # starts in a row after which it was never ready
        self.port = 0

    @property
    def name(self) -> str:
        return f"{self.endpoint.name}/{self.number}"

    @property
    def failing(self) -> bool:
        return self.in_vain >= FAILING_AFTER

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a server up until `stop` is set; afterwards nothing of it is left."""
        self.in_vain = 0
        try:
            while not stop.is_set():
                ended, ready_for = await self._serve_once(stop)
                if stop.is_set():
                    break
                self.in_vain = 0 if ready_for is not None else self.in_vain + 1
                pause = self.backoff.after(ready_for or 0.0)
                self.status.restarts += 1
                self._note(ServerState.DOWN, last_error=ended, pid=None, started_at=None, metrics={})
                self.say(f"{ended}; started again in {pause:g} s")
                await self._publish(self)
                await wait_for(stop, pause)
        finally:
            self._note(ServerState.STOPPED, pid=None, url="", started_at=None, metrics={})
            await self._publish(self)

    async def _serve_once(self, stop: asyncio.Event) -> tuple[str, float | None]:
        """Why it ended, and for how many seconds it was ready (None: never)."""
        try:
            self.port = self._choose_port()
        except OSError as error:
            return f"cannot listen on {self.serve.host}: {error}", None
        if not can_listen(self.serve.host, self.port):
            return f"port {self.port} of {self.serve.host} is taken by another process", None
        try:
            process = await ServerProcess.start(
                build_argv(self.endpoint, port=self.port, python=self.python),
                build_env(self.endpoint, self.place, environ=self._environ, mark=self.mark),
                self.log,
                mark=self.mark,
                grace_s=self.timing.grace_s,
            )
        except OSError as error:
            return f"cannot be started: {error}", None
        devices = ", ".join(map(str, devices_of(self.serve, self.place)))
        self.say(f"starting on port {self.port}" + (f", devices {devices}" if devices else ""))
        root = f"http://{bracketed(self.advertise)}:{self.port}"
        self._note(ServerState.STARTING, pid=process.pid, url=f"{root}/v1", started_at=None)
        await self._publish(self)
        watch = Watch(self, process, stop, root)
        hung = True  # unless it comes to an end that tells otherwise
        try:
            reason, hung = await watch.until_it_ends()
        finally:
            await process.stop(now=hung and not stop.is_set())
            self.status.log_tail = words.tail_of(self.log, self.secret)
        return reason, watch.ready_for

    def _choose_port(self) -> int:
        if self.serve.port is not None:
            return self.serve.port + self.place
        return self.port if self.port and can_listen(self.serve.host, self.port) else free_port(self.serve.host)

    def _note(self, state: ServerState, **changes: Any) -> None:
        self.status.state = state
        for name, value in changes.items():
            setattr(self.status, name, value)

    def say(self, text: str) -> None:
        self._say(f"{self.name}: {text}")


class Watch:
    """One life of a server, from its start to its end."""

    def __init__(self, replica: Replica, process: ServerProcess, stop: asyncio.Event, root: str) -> None:
        self.replica, self.process, self.stop, self.root = replica, process, stop, root
        self.timing, self.status = replica.timing, replica.status
        self.born = self.told = time.monotonic()
        self.ready_at: float | None = None
        self.unanswered = 0

    @property
    def ready_for(self) -> float | None:
        return None if self.ready_at is None else time.monotonic() - self.ready_at

    async def until_it_ends(self) -> tuple[str, bool]:
        """Why it is over, and whether what is left of it must be killed without being asked."""
        exited = asyncio.ensure_future(self.process.exited())
        stopped = asyncio.ensure_future(self.stop.wait())
        async with open_session() as session:
            probe = Probe(session, self.root, self.replica.secret, timeout_s=max(self.timing.poll_s, 1.0) * 2)
            try:
                while True:
                    pause = self.timing.start_poll_s if self.ready_at is None else self.timing.poll_s
                    await asyncio.wait({exited, stopped}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                    if stopped.done():
                        return "stopped", False
                    if exited.done():
                        return self._last_words(exited.result()), False
                    if (reason := await self._look(probe)) and not exited.done():
                        return reason, True
                    self.status.log_tail = words.tail_of(self.replica.log, self.replica.secret)
                    await self.replica._publish(self.replica)
            finally:
                exited.cancel()
                stopped.cancel()

    async def _look(self, probe: Probe) -> str:
        """One round of questions; why the server is given up, or ""."""
        well = await probe.is_well()
        if self.ready_at is None:
            if well and await probe.serves(self.replica.endpoint.model):
                self._is_ready()
            elif time.monotonic() - self.born > self.timing.start_timeout_s:
                return f"not ready after {self.timing.start_timeout_s:g} s"
            else:
                self._tell_progress()
                return ""
        self.unanswered = 0 if well else self.unanswered + 1
        if self.unanswered >= self.timing.hang_checks:
            return f"hung: {self.unanswered} health checks unanswered"
        if well and (metrics := await probe.metrics()) is not None:
            self.status.take(next_reading(metrics, time.time(), self.status.metrics))
        return ""

    def _is_ready(self) -> None:
        self.ready_at = time.monotonic()
        self.status.state, self.status.started_at = ServerState.READY, timezone.now()
        self.replica.in_vain = 0
        self.replica.say(f"ready after {self.ready_at - self.born:.0f} s at {self.status.url}")

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self.told >= self.timing.progress_s:
            self.told = now
            said = words.last_line(self.replica.log, self.replica.secret)
            self.replica.say(f"starting for {now - self.born:.0f} s: {said}")

    def _last_words(self, code: int) -> str:
        said = words.why_it_ended(self.replica.log, self.replica.secret)
        return f"ended with code {code}: {said}"[: words.ERROR_CHARS]


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def can_listen(host: str, port: int) -> bool:
    try:
        with _socket_at(host, port):
            return True
    except OSError:
        return False


def free_port(host: str) -> int:
    with _socket_at(host, 0) as probe:
        return int(probe.getsockname()[1])


def _socket_at(host: str, port: int) -> socket.socket:
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not matter
        probe.bind(address)
    except OSError:
        probe.close()
        raise
    return probe
