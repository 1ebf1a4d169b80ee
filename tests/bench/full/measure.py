"""Server time of requests: the real middleware, views, templates and PostgreSQL in one process, one connection kept open."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client

WARM = 3  # requests before the first that counts
REQUESTS = 40
PATIENCE_S = 20.0  # a page that is slow is asked less often


@dataclass(slots=True)
class Timing:
    """Milliseconds of each request, of PostgreSQL's part in it, and how many statements it made."""

    name: str
    total: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.total)

    @property
    def p95(self) -> float:
        return percentile(self.total, 95)

    def add(self, other: Timing) -> None:
        self.total += other.total
        self.database += other.database
        self.statements += other.statements

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "n": len(self.total), "p50": round(self.p50, 1), "p95": round(self.p95, 1),
            "max": round(max(self.total), 1), "database": round(statistics.median(self.database), 1),
            "statements": statistics.median_high(self.statements),
        }  # fmt: skip


def percentile(values: Iterable[float], percent: int) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100), 1) - 1]


def client_of(username: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=username))
    return client


def timed(timing: Timing, send: Callable[[], HttpResponse], *expected: int) -> HttpResponse:
    """Send one request and note what it took. Any other status than the expected ones (200) is an error."""
    spent = [0.0, 0]

    def watch(execute: Any, sql: Any, params: Any, many: bool, context: Mapping[str, Any]) -> Any:
        begun = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            spent[0] += time.perf_counter() - begun
            spent[1] += 1

    with connection.execute_wrapper(watch):
        begun = time.perf_counter()
        reply = send()
        timing.total.append(1000 * (time.perf_counter() - begun))
    timing.database.append(1000 * spent[0])
    timing.statements.append(int(spent[1]))
    if reply.status_code not in (expected or (200,)):
        raise AssertionError(f"{timing.name}: status {reply.status_code}: {reply.content[:300]!r}")
    return reply


def measure_page(name: str, client: Client, addresses: Iterator[str], **headers: str) -> Timing:
    """GET one address after the other until there are enough; the first ones only warm up."""
    warm, timing, begun = Timing(name), Timing(name), time.perf_counter()
    for number in range(WARM + REQUESTS):
        late = time.perf_counter() - begun > PATIENCE_S
        if late and timing.total:
            break
        address = next(addresses)
        timed(warm if number < WARM and not late else timing, lambda: client.get(address, headers=headers))  # noqa: B023
    return timing


@contextmanager
def quiet() -> Iterator[None]:
    """The garbage of building what is measured does not fall into a measured request."""
    import gc

    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
