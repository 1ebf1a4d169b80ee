"""Server time of requests: the real middleware, views, templates and PostgreSQL in one process, one connection kept open."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

WARM = 3  # requests before the first that counts
PATIENCE_S = 20.0  # a page that is slow is asked less often


@dataclass(slots=True)
class Timing:
    """Milliseconds of each request, of PostgreSQL's part in it, how many statements it made, and milliseconds on a CPU
    (of this process and of its PostgreSQL backend): what other work on the machine does not add to."""

    name: str
    total: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rows: int = 0  # of tables on the latest page

    @property
    def p50(self) -> float:
        return statistics.median(self.total)

    @property
    def p95(self) -> float:
        return percentile(self.total, 95)

    @property
    def columns(self) -> tuple[list[Any], ...]:
        return self.total, self.database, self.statements, self.cpu

    def drop_last(self) -> None:
        for values in self.columns:
            values.pop()

    def add_latest(self, *parts: Timing) -> None:
        """One more: the latest of each of the parts together."""
        for values, *given in zip(self.columns, *(part.columns for part in parts), strict=True):
            values.append(sum(column[-1] for column in given))

    def __str__(self) -> str:
        return f"{self.name:45} p50 {self.p50:8.1f} ms   p95 {self.p95:8.1f} ms   CPU {statistics.median(self.cpu):8.1f} ms"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "n": len(self.total), "p50": round(self.p50, 1), "p95": round(self.p95, 1),
            "max": round(max(self.total), 1), "database": round(statistics.median(self.database), 1),
            "statements": statistics.median_high(self.statements), "cpu50": round(statistics.median(self.cpu), 1),
            "cpu95": round(percentile(self.cpu, 95), 1), "rows": self.rows,
        }  # fmt: skip


def percentile(values: Iterable[float], percent: int) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100), 1) - 1]


def client_of(username: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=username))
    return client


def timed(timing: Timing, send: Callable[[], Any], *expected: int) -> Any:
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
        begun, worked = time.perf_counter(), on_cpu()
        reply = send()
        timing.total.append(1000 * (time.perf_counter() - begun))
        timing.cpu.append(1000 * (on_cpu() - worked))
    timing.database.append(1000 * spent[0])
    timing.statements.append(int(spent[1]))
    timing.rows = reply.content.count(b"<tr>")
    if reply.status_code not in (expected or (200,)):
        raise AssertionError(f"{timing.name}: status {reply.status_code}: {reply.content[:300]!r}")
    return reply


def on_cpu() -> float:
    """Seconds on a CPU so far, of this process and of the backend that serves it."""
    backend = connection.connection.info.backend_pid if connection.connection else 0
    schedule = Path(f"/proc/{backend}/schedstat")
    return time.process_time() + (int(schedule.read_text().split()[0]) / 1e9 if schedule.exists() else 0.0)


def measure_page(name: str, client: Client, addresses: Iterable[str], **headers: str) -> Timing:
    """GET one address after the other to the end; the first ones only warm up."""
    warm, timing, begun = Timing(name), Timing(name), time.perf_counter()
    for number, address in enumerate(addresses):
        late = time.perf_counter() - begun > PATIENCE_S
        if late and timing.total:
            break
        timed(warm if number < WARM and not late else timing, lambda: client.get(address, headers=headers))  # noqa: B023
    print(timing, file=sys.stderr, flush=True)
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
