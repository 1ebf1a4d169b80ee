"""One event loop for all pumps of this process.

Threads that run a loop each hand Python's lock to one another at every system call, and eight of them wait for it longer
than they work. A pump's thread only waits here; its database work has a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
LOOK_S = 1.0  # what is raised in the waiting thread from outside is seen then
END_S = 60.0  # given to what was interrupted

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a forked one has no thread that runs its parent's


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns or raises. Where the waiting thread is interrupted, the coroutine is cancelled, and has
    ended before this returns."""
    loop = shared_loop()
    work = _Work(main)
    try:
        loop.call_soon_threadsafe(work.begin)
        while not work.ended.wait(LOOK_S):
            pass
    except BaseException:
        loop.call_soon_threadsafe(work.halt)
        work.ended.wait(END_S)
        raise
    assert work.task is not None
    return work.task.result()


def shared_loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="pumps", daemon=True).start()
        return loop


class _Work(Generic[T]):
    """A coroutine that another thread waits for. `begin` and `halt` are called in the loop, in this order."""

    def __init__(self, main: Coroutine[Any, Any, T]) -> None:
        self.main = main
        self.task: asyncio.Task[T] | None = None
        self.ended = threading.Event()

    def begin(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.main)
        self.task.add_done_callback(lambda _: self.ended.set())

    def halt(self) -> None:
        if self.task is not None:
            self.task.cancel()
        else:  # interrupted before it was begun
            self.main.close()
            self.ended.set()
