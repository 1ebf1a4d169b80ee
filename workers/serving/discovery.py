"""Where workers find the servers of `base_url = "served"` endpoints: rows of the ledger, looked up at most every 2 s."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connection

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import HeldBackError
from apps.pipeline.servers import FRESH_S, addresses

Key = tuple[str, str]  # endpoint, model
CACHE_S = 2.0
FIRST_S = 3.0  # that pumps wait for the first answer, all of them: they share a loop
RETRY_S = 5.0  # of a question that found no server
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    at: float  # monotonic seconds
    urls: list[str]


_lock = threading.Lock()
_known: dict[Key, Known] = {}
_asked: dict[Key, Future[list[str]]] = {}
_thread = ThreadPoolExecutor(1, thread_name_prefix="served")


def served_addresses(endpoint: EndpointConfig) -> list[str]:
    """Base URLs of the replicas that are ready now.

    In an event loop it blocks for the first query alone: later ones run beside it, and what they find is told from the
    next call on. While the database is away, what was known stays true for as long as a server's row would.
    """
    key = (endpoint.name, endpoint.model)
    with _lock:
        known = _known.get(key)
    if known is not None and time.monotonic() - known.at < CACHE_S:
        return known.urls
    if not in_event_loop():
        return _remember(key, addresses(key[0], model=key[1]))
    asked = _ask(key)
    if known is not None and time.monotonic() - known.at < FRESH_S:
        return known.urls
    try:
        return asked.result(FIRST_S)
    except Exception as error:
        log.warning("no addresses of %s: %s", endpoint.name, str(error).split("\n")[0])
        return []


def served_address(endpoint: EndpointConfig) -> str:
    """The first of them. Raises HeldBackError where there is none: nothing is sent, and no attempt is used up."""
    found = served_addresses(endpoint)
    if not found:
        raise HeldBackError(
            f"endpoint {endpoint.name}: no model server is ready; manage.py serve_models starts them", RETRY_S
        )
    return found[0]


def forget_addresses() -> None:
    """What is known is looked up again (tests)."""
    with _lock:
        _known.clear()


def in_event_loop() -> bool:
    """Django refuses queries in an event loop's thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _ask(key: Key) -> Future[list[str]]:
    """The query under way for this endpoint, started if there is none."""
    with _lock:
        asked = _asked.get(key)
        if asked is None or asked.done():
            asked = _asked[key] = _thread.submit(_in_thread, key)
        return asked


def _in_thread(key: Key) -> list[str]:
    try:
        return _remember(key, addresses(key[0], model=key[1]))
    finally:
        connection.close()


def _remember(key: Key, urls: list[str]) -> list[str]:
    with _lock:
        _known[key] = Known(time.monotonic(), urls)
    return urls
