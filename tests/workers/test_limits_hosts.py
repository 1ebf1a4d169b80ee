"""Several hosts on one limit of the ledger: each a thread with its own loop, channel and connection; the double that they
all send to says what arrived when."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import Reply, Request
from tests.workers.virtual import endpoint, most_in, most_tokens_in
from workers.channel import Channel
from workers.limits import door
from workers.limits.rates import Limits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
HOSTS = 4
PERIOD_S = 4.0  # instead of a minute


class Double:
    """A provider that notes when requests arrive and what they take."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.used: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._dice = random.Random(3)

    async def complete(self, request: Request) -> Reply:
        with self._lock:
            sent = time.monotonic()
            self.arrived.append(sent)
            out = int(min(request.max_tokens, self._dice.expovariate(1 / 60)))
            latency = self._dice.uniform(0.05, 0.3)
            self.used.append((sent, 30 + out))
        await asyncio.sleep(latency)
        return Reply("x", tokens_in=30, tokens_out=out)

    async def close(self) -> None:
        return None


def run_hosts(double: Double, target: EndpointConfig, seconds: float) -> None:
    end = time.monotonic() + seconds

    async def host(db: ThreadPoolExecutor) -> None:
        async def in_db(function: Callable[..., Any], *args: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(db, function, *args)

        channel = Channel("generate@one", double, in_db, lambda: False)

        async def caller() -> None:
            while time.monotonic() < end:
                await channel.send(Request(target, [{"role": "user", "content": "x" * 105}], 400))

        await asyncio.gather(*(caller() for _ in range(12)))
        await channel.close()

    def thread() -> None:
        with ThreadPoolExecutor(1) as db:
            try:
                asyncio.run(host(db))
            finally:
                db.submit(lambda: connection.close()).result()

    with ThreadPoolExecutor(HOSTS) as pool:
        for done in [pool.submit(thread) for _ in range(HOSTS)]:
            done.result()


def test_requests_of_all_hosts_hold_in_any_window(monkeypatch):
    limit = 240
    monkeypatch.setattr(door, "limits_of", lambda e: Limits(e.limit_key, requests=limit, period_s=PERIOD_S))
    double = Double()

    run_hosts(double, endpoint(), 2.5 * PERIOD_S)

    assert most_in(sorted(double.arrived), PERIOD_S) <= limit * 1.02
    assert len(double.arrived) >= 0.85 * 2.5 * limit, "and the limit is made use of"


def test_tokens_of_all_hosts_hold_in_ten_periods(monkeypatch):
    """Replies take between none and six times their mean, and nobody knows it before."""
    limit, period = 5_000, 1.0
    monkeypatch.setattr(door, "limits_of", lambda e: Limits(e.limit_key, tokens=limit, period_s=period))
    double = Double()

    run_hosts(double, endpoint(), 12 * period)

    assert most_tokens_in(sorted(double.used), 10 * period) <= 10 * limit * 1.05
    assert sum(n for _, n in double.used) >= 0.7 * 12 * limit
