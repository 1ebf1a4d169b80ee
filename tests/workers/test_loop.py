"""One loop for all pumps of a process, and the ids that they give their calls."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.ids import new_id
from workers.loop import run_in_loop


class HaltError(Exception):
    """Raised in a thread from outside, as Dramatiq ends an actor."""


async def where() -> tuple[str, asyncio.AbstractEventLoop]:
    return threading.current_thread().name, asyncio.get_running_loop()


def test_all_threads_wait_for_the_same_loop() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = {threads.submit(run_in_loop, where()).result() for _ in range(8)}
    assert len(found) == 1
    assert run_in_loop(where()) in found
    assert threading.current_thread().name not in {name for name, _ in found}


def test_what_is_raised_there_is_raised_here() -> None:
    async def fail() -> None:
        raise TimeoutError("of the coroutine's own")

    with pytest.raises(TimeoutError, match="of the coroutine's own"):
        run_in_loop(fail())


def test_who_is_interrupted_leaves_nothing_running() -> None:
    begun, steps = threading.Event(), []

    async def last() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    def wait() -> None:
        try:
            run_in_loop(last())
        except HaltError:
            steps.append("interrupted")

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(10)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(waiting.ident or 0), ctypes.py_object(HaltError))
    waiting.join(10)
    assert steps == ["cleaned up", "interrupted"]


def test_ids_differ_and_are_in_the_order_of_their_time() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    times = [one.int >> 80 for one in ids]
    assert times == sorted(times)
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
