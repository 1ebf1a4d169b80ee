"""A worker in this process: Dramatiq's threads and a reconciler."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq

from workers import actors
from workers.broker import broker
from workers.reconciler import Reconciler

THREADS = 16  # an async pump holds a thread while it runs: at least one a lane


def tune_memory() -> None:
    """Look for cycles less often: with thousands of calls and rows alive the collector took a quarter of a pump's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@contextmanager
def embedded_worker(threads: int = THREADS) -> Iterator[threading.Event]:
    """Yields an event that is set when the worker should stop soon; leaving drains calls in flight and gives leases back."""
    tune_memory()
    actors.stopping.clear()
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100)
    reconciler = Reconciler()
    worker.start()
    reconciler.start()
    try:
        yield actors.stopping
    finally:
        actors.stopping.set()
        reconciler.stop()
        worker.stop(timeout=60_000)
