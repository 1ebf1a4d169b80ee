"""An event loop whose time is virtual: it never waits, so minutes pass in milliseconds. And a model server in it."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import HeldBackError, ModelError, Reply, Request
from workers.channel import Channel
from workers.limits.rates import Grant, Limits, Standing, grant

T = TypeVar("T")
START = 1000.0


class _Selector(selectors.SelectSelector):
    """Instead of waiting for events it lets the time pass."""

    passed = START

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everything waits, and nothing will ever happen"
            self.passed += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.passed


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


class VirtualRates:
    """`workers.limits.rates` without a database: the same pure rule on rows in memory, in the loop's time."""

    def __init__(self) -> None:
        self.rows: dict[str, Standing] = {}
        self.at: dict[str, float] = {}
        self.asked = 0

    def take(self, limits: Limits, costs: Sequence[int], settled: int = 0) -> Grant:
        self.asked += 1
        past = now() - self.at.get(limits.key, now())
        row = self.rows.get(limits.key, Standing())
        row = Standing(row.request_in - past, row.token_in - past, row.blocked_in - past)
        self.rows[limits.key], found = grant(limits, row, costs, settled)
        self.at[limits.key] = now()
        return Grant([now() + at for at in found.moments], found.retry_in, found.blocked_in)

    def block(self, key: str, seconds: float) -> None:
        self.rows[key] = Standing(blocked_in=seconds)
        self.at[key] = now()

    def blocked_for(self, key: str) -> float:
        row = self.rows.get(key, Standing())
        return max(0.0, row.blocked_in - (now() - self.at.get(key, now())))


async def in_db(function: Callable[..., T], *args: Any) -> T:
    await asyncio.sleep(0.002)
    return function(*args)


@dataclass
class Server:
    """A backend. `fault` may say what is wrong with a call, given its address and the time since the start."""

    latency: float = 0.2
    fault: Callable[[str, float], ModelError | None] = lambda address, passed: None
    tokens: Callable[[], int] = lambda: 100
    takes: int = 10_000  # calls at once; more are answered with 429
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    arrived: list[tuple[float, str, int]] = field(default_factory=list)  # when, address, affinity
    answered: list[tuple[float, int]] = field(default_factory=list)  # when sent, tokens in and out
    at_once: int = 0

    async def complete(self, request: Request) -> Reply:
        sent = now()
        self.arrived.append((sent, request.base_url, request.affinity))
        error = self.fault(request.base_url, sent - START)
        if error is None and self.at_once >= self.takes:
            error = too_many()
        if error is not None:
            await asyncio.sleep(0.01)
            raise error
        self.at_once += 1
        try:
            await asyncio.sleep(self.latency * self.dice.uniform(0.8, 1.2))
        finally:
            self.at_once -= 1
        out = self.tokens()
        self.answered.append((sent, 30 + out))
        return Reply("x", tokens_in=30, tokens_out=out)

    async def close(self) -> None:
        return None


class Bucket:
    """A provider's own limit: so many a minute, as many saved up as fall due in a second."""

    def __init__(self, per_minute: int) -> None:
        self.per_second = per_minute / 60
        self.level, self.at = max(1.0, self.per_second), 0.0

    def __call__(self, address: str, passed: float) -> ModelError | None:
        self.level = min(max(1.0, self.per_second), self.level + (passed - self.at) * self.per_second)
        self.at = passed
        if self.level < 1:
            return too_many()
        self.level -= 1
        return None


def too_many(retry_after: float | None = 1.0) -> ModelError:
    return ModelError("rate_limit", "429", status=429, retry_after=retry_after)


def away() -> ModelError:
    return ModelError("connection", "refused")


def endpoint(**fields: Any) -> EndpointConfig:
    return EndpointConfig(**{"name": "one", "base_url": "http://127.0.0.1:9/v1", "model": "m", **fields})


def channel_to(server: Server, stopping: Callable[[], bool] = lambda: False) -> Channel:
    return Channel("generate@one", server, in_db, stopping, clock=now)


@dataclass
class Outcome:
    done: int = 0
    held: int = 0
    failed: int = 0  # attempts
    attempts: list[int] = field(default_factory=list)  # failed ones of each item that was told


async def pump(channel: Channel, target: EndpointConfig, items: int, until: float = float("inf")) -> Outcome:
    """What a pump does, in short: keeps as many items going as the channel likes; 429s rest, held ones come again."""
    outcome, flying = Outcome(), set[asyncio.Task[None]]()
    channel.watch(target)
    waiting = list(range(items, 0, -1))

    async def item(number: int) -> None:
        failures = 0
        while True:
            try:
                await channel.send(Request(target, [{"role": "user", "content": "x" * 105}], 1000, affinity=number))
                outcome.done += 1
                outcome.attempts.append(failures)
                return
            except HeldBackError as held:
                outcome.held += 1
                await asyncio.sleep(held.retry_in or 0.1)
            except ModelError as error:
                failures += 1
                outcome.failed += 1
                await asyncio.sleep(error.retry_after or 0.4)

    while (waiting or flying) and now() - START < until:
        while waiting and channel.open and len(flying) < channel.limit:
            flying.add(asyncio.create_task(item(waiting.pop())))
        if flying:
            done, flying = await asyncio.wait(flying, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        else:
            await asyncio.sleep(0.1)
    for task in flying:
        task.cancel()
    await asyncio.gather(*flying, return_exceptions=True)
    await channel.close()
    return outcome


def most_in(times: list[float], window: float) -> int:
    """Of these sorted times, the most in any sliding window (half-open)."""
    return most_tokens_in([(moment, 1) for moment in times], window)


def most_tokens_in(used: Sequence[tuple[float, int]], window: float) -> int:
    """The same of what was used at these sorted times."""
    first = inside = most = 0
    for moment, tokens in used:
        inside += tokens
        while used[first][0] <= moment - window:
            inside -= used[first][1]
            first += 1
        most = max(most, inside)
    return most
