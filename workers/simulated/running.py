"""The simulator as a thread of this process, or as the whole of it."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from workers.simulated.server import KeySource, Simulator, SimulatorConfig

LINGER_S = 0.5  # given to requests in flight when the server stops


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """`base_url` is what an endpoint's base_url would be. Also a context manager that stops the server."""

    base_url: str
    simulator: Simulator
    stop: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_in_thread(
    config: SimulatorConfig | None = None, keys: KeySource | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> RunningSimulator:
    """Serve from a thread until `stop()`; returns once the server listens. Raises OSError where it cannot."""
    simulator = Simulator(config, keys)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    outcome: list[str | Exception] = []

    def note(result: str | Exception) -> None:
        outcome.append(result)
        started.set()

    async def live() -> None:
        try:
            await serve(simulator, host=host, port=port, stopping=stopping, ready=note)
        except Exception as error:
            note(error)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(live())

    thread = threading.Thread(target=run, name="simulated-models", daemon=True)
    thread.start()
    started.wait()
    result = outcome[0]
    if isinstance(result, Exception):
        thread.join()
        raise result

    def stop() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            thread.join()

    return RunningSimulator(result, simulator, stop)


def serve_until_signalled(simulator: Simulator, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, also where those were inherited as ignored. Raises OSError where it cannot listen."""

    async def live() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await serve(simulator, host=host, port=port, stopping=stopping, ready=ready)

    asyncio.run(live())


async def serve(
    simulator: Simulator, *, host: str, port: int, stopping: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """`ready` gets the base URL once the server listens; port 0 picks a free one."""
    runner = web.AppRunner(simulator.app(), access_log=None, handle_signals=False, shutdown_timeout=LINGER_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=4096)
        await site.start()
        ready(_base_url(runner.addresses[0]))
        await stopping.wait()
    finally:
        await runner.cleanup()


def allow_many_connections(wanted: int = 65_536) -> None:
    """Lift this process's limit of open files, which counts connections too, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(hard, wanted)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _base_url(address: tuple[str, int]) -> str:
    host, port = address[:2]
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return f"http://{host}:{port}/v1"
    return f"http://[{host}]:{port}/v1"
