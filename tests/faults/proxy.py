"""A TCP proxy between a client and a server: slow, stalled without a word (half-open), or cut."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from tests.faults.instance import free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a RST


class Proxy:
    """A context manager with an event loop in a thread of its own. `target`: (host, port), or a Unix socket's path.

    `delay_s`: how long each piece of data is kept; may be set at any time.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.target = target
        self.port = free_port()
        self.delay_s = 0.0
        self.passed = 0  # bytes
        self._open: set[asyncio.StreamWriter] = set()
        self._joined: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def stall(self) -> None:
        """Connections stand and are taken, and nothing gets through."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        done: Future[int] = asyncio.run_coroutine_threadsafe(self._cut(), self._loop)
        return done.result(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing, self._over = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._join, "127.0.0.1", self.port, backlog=1024)
        self._ready.set()
        await self._over.wait()
        server.close()
        self._flowing.set()
        await self._cut()
        if self._joined:
            await asyncio.wait(self._joined, timeout=5)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._joined.add(task)
        task.add_done_callback(self._joined.discard)
        try:
            if isinstance(self.target, str):
                there = await asyncio.open_unix_connection(self.target)
            else:
                there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, there[1]}
        try:
            await asyncio.gather(self._carry(reader, there[1]), self._carry(there[0], writer))
        except OSError:
            pass
        finally:
            for end in (writer, there[1]):
                self._open.discard(end)
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
            self.passed += len(data)
        writer.close()

    async def _cut(self) -> int:
        cut = list(self._open)
        for writer in cut:
            _reset(writer.get_extra_info("socket"))
            writer.transport.abort()
        return len(cut) // 2


def _reset(end: Any) -> None:
    if end is not None and end.family == socket.AF_INET:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
