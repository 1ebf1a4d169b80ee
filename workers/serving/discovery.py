"""Where workers find the servers of `base_url = "served"` endpoints: rows of the ledger, looked up at most every 2 s."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import HeldBackError
from apps.pipeline.servers import addresses

CACHE_S = 2.0
RETRY_S = 5.0  # of a question that found no server

_lock = threading.Lock()
_known: dict[tuple[str, str], tuple[float, list[str]]] = {}
_thread = ThreadPoolExecutor(1, thread_name_prefix="served")


def served_addresses(endpoint: EndpointConfig) -> list[str]:
    """Base URLs of the replicas that are ready now; callable in an event loop too (it blocks for a short query)."""
    key = (endpoint.name, endpoint.model)
    with _lock:
        found = _known.get(key)
    if found is None or time.monotonic() - found[0] >= CACHE_S:
        found = (time.monotonic(), _look_up(*key))
        with _lock:
            _known[key] = found
    return list(found[1])


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


def _look_up(name: str, model: str) -> list[str]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return addresses(name, model=model)
    return _thread.submit(_in_thread, name, model).result()  # Django refuses queries in an event loop's thread


def _in_thread(name: str, model: str) -> list[str]:
    try:
        return addresses(name, model=model)
    finally:
        connection.close()
