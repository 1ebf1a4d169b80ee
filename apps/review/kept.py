"""Figures that take longer than a page may: kept, shown as of when they were worked out, and worked out anew meanwhile.

A thread of the web server does it, with a connection of its own; what it finds is lost with the process and found again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from django.core.cache import cache
from django.db import connection
from django.utils import timezone

log = logging.getLogger(__name__)
T = TypeVar("T")
FRESH_FOR = timedelta(seconds=60)  # how long what the state does not tell, a judge's new labels, may be missing
KEPT_S = 24 * 3600
AT_WORK_S = 120  # then another may try
BESIDE = "kept figures"  # the name of the threads that work them out


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """`value` as of `at`, when `state` was the latest. `old`: it is being worked out anew."""

    value: T
    state: str
    at: datetime
    old: bool = False


def kept(key: str, state: str, work_out: Callable[[], T], *, at_once: bool) -> Kept[T] | None:
    """What is known of `key`. `state` changes when it has to be worked out anew: now, or else (not `at_once`) after this
    request. None: nothing is known yet, ask again in a second."""
    found: Kept[T] | None = cache.get(key)
    if found and found.state == state and timezone.now() - found.at < FRESH_FOR:
        return found
    if at_once:
        return _keep(key, state, work_out)
    if cache.add(f"{key}:at-work", True, AT_WORK_S):
        in_background(lambda: _finish(key, state, work_out))
    found = cache.get(key) or found
    return found and Kept(found.value, found.state, found.at, old=found.state != state)


def in_background(work: Callable[[], object]) -> None:
    threading.Thread(target=work, name=BESIDE, daemon=True).start()


def _finish(key: str, state: str, work_out: Callable[[], object]) -> None:
    try:
        _keep(key, state, work_out)
    except Exception:
        log.exception("%s could not be worked out", key)
    finally:
        cache.delete(f"{key}:at-work")
        connection.close()


def _keep(key: str, state: str, work_out: Callable[[], T]) -> Kept[T]:
    begun = timezone.now()
    found = Kept(work_out(), state, begun)
    cache.set(key, found, KEPT_S)
    return found
