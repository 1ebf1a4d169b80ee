"""What works of this installation, told truthfully: for load balancers, supervisors and people."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.pipeline.models import PumpLease, Task, TaskState
from apps.reasoning.models import RunState

State = Literal["ok", "degraded", "down"]
ORDER: tuple[State, ...] = ("ok", "degraded", "down")


@dataclass(frozen=True, slots=True)
class Part:
    """`degraded`: pages and runs go on, slower or with something waiting; `down`: requests fail."""

    state: State
    words: str
    ms: float = 0.0


@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """This process answers. For supervisors that restart it: a database that is away is no reason to."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """503 when requests would fail; 200 with `degraded` when something lags. Without names, addresses or figures of runs."""
    parts = check_parts()
    status = max((part.state for part in parts.values()), key=ORDER.index)
    body = {name: {"state": part.state, "words": part.words, "ms": round(part.ms, 1)} for name, part in parts.items()}
    return JsonResponse({"status": status, "parts": body}, status=503 if status == "down" else 200)


def check_parts() -> dict[str, Part]:
    """The database first: without it nothing else can be told, and nothing else is asked."""
    parts = {"database": timed(check_database), "broker": timed(check_broker)}
    if parts["database"].state == "ok":
        parts["migrations"] = timed(check_migrations)
    if parts.get("migrations", DOWN).state == "ok":
        parts["workers"] = timed(check_workers)
    return parts


def timed(check: Callable[[], Part]) -> Part:
    began = time.perf_counter()
    part = check()
    return Part(part.state, part.words, (time.perf_counter() - began) * 1000)


DOWN = Part("down", "not asked")


def check_database() -> Part:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            (standby,) = cursor.fetchone() or (True,)
    except DatabaseError:
        connection.close()  # the next request tries anew
        return Part("down", "The database does not answer.")
    return Part("down", "The database is a standby: nothing can be written.") if standby else Part("ok", "Answers.")


def check_migrations() -> Part:
    waiting = 0 if _migrated.cache_info().currsize else _count_waiting()
    if waiting:
        return Part("down", f"{waiting} migrations are not applied: run manage.py migrate.")
    _migrated()
    return Part("ok", "All applied.")


@cache
def _migrated() -> None:
    """Remembers that nothing waits: that stays so as long as this process runs this code."""


def _count_waiting() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def check_broker() -> Part:
    """It carries wake-ups only: while it is away, work is found by looking for it."""
    if not settings.DRAMATIQ_BROKER_URL:
        return Part("ok", "In process.")
    try:
        _ping_broker(settings.DRAMATIQ_BROKER_URL)
    except Exception:  # each client has its own errors, and none may take the page down
        return Part("degraded", "The broker does not answer: work is found later than it could be.")
    return Part("ok", "Answers.")


def _ping_broker(url: str) -> None:
    if url.startswith("redis"):
        import redis

        with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
        return
    import pika  # type: ignore[import-untyped]

    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = parameters.stack_timeout = 2
    parameters.connection_attempts = 1
    pika.BlockingConnection(parameters).close()


def check_workers() -> Part:
    if PumpLease.objects.filter(expires_at__gt=Now()).exists():
        return Part("ok", "At work.")
    due = Task.objects.filter(state=TaskState.READY, run__state=RunState.RUNNING)
    if due.filter(Q(not_before__isnull=True) | Q(not_before__lte=Now())).exists():
        return Part("degraded", "Work is waiting and no worker is at it.")
    return Part("ok", "Nothing to do.")
