"""Requests and tokens a minute, shared by all workers on all hosts through one row of the ledger for each limit.

The rule is GCRA: a row holds when the next request is due if all granted ones are sent evenly, and when the tokens
granted so far are paid off. Times are the database's; callers get moments of their own monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

SLACK = 1.02  # requests are granted at 1/1.02 of the limit: room for what the network delays and bunches
TOKEN_SLACK = 1.03  # room for replies that take more than was reserved for them
FEW = 50  # up to so many requests a period each one counts more than 2 %: no burst at all
BURST = 0.01  # of a period: requests missed for so long may be made up at once
LATE = 0.01  # of a period: a granted moment that passed longer ago is lost
SAVED = 1 / 12  # of a period: the tokens that may be saved up, 5 s of a minute
HORIZON_S = 1.0  # moments further ahead are not granted yet: whoever comes later may be as urgent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows in any period. The key is `EndpointConfig.limit_key`; whoever shares it sets the same limits."""

    key: str
    requests: int | None = None
    tokens: int | None = None
    period_s: float = 60.0

    @property
    def late_s(self) -> float:
        return LATE * self.period_s


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit's row, in seconds from now; negative: that long ago."""

    request_in: float = 0.0
    token_in: float = 0.0
    blocked_in: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """When the first of the requests asked for may be sent. The others may ask again in `retry_in` seconds."""

    moments: list[float]
    retry_in: float
    blocked_in: float


def grant(limits: Limits, standing: Standing, costs: Sequence[int], settled: int = 0) -> tuple[Standing, Grant]:
    """Moments, in seconds from now, for as many requests of these token costs as fit the next second; pure.

    `settled`: tokens that replies took beyond what was granted for them (negative: less). A request waits until the
    tokens granted before it are paid off, not for its own, so that a large one is not starved by small ones.
    """
    request_gap = SLACK * limits.period_s / limits.requests if limits.requests else 0.0
    token_gap = TOKEN_SLACK * limits.period_s / limits.tokens if limits.tokens else 0.0
    burst = BURST * limits.period_s if (limits.requests or 0) > FEW else 0.0
    saved = SAVED * limits.period_s
    request_in = standing.request_in
    token_in = max(max(standing.token_in, -saved) + settled * token_gap, -saved)
    moments: list[float] = []
    retry_in = 0.0
    for cost in costs:
        at = max(0.0, standing.blocked_in)
        if request_gap:
            at = max(at, request_in)
        if token_gap:
            at = max(at, token_in)
        if at > HORIZON_S:
            retry_in = at - HORIZON_S
            break
        request_in = max(request_in, at - burst) + request_gap
        token_in = max(token_in, at - saved) + cost * token_gap
        moments.append(at)
    after = Standing(
        request_in if request_gap else standing.request_in,
        token_in if token_gap else standing.token_in,
        standing.blocked_in,
    )
    return after, Grant(moments, retry_in, max(0.0, standing.blocked_in))


def take(limits: Limits, costs: Sequence[int], settled: int = 0) -> Grant:
    """`grant` on the shared row, in one short transaction. The moments are of `time.monotonic()` in this process."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_READ, [limits.key])
        row = cursor.fetchone()
        if row is None:
            cursor.execute(_CREATE, [limits.key])
            cursor.execute(_READ, [limits.key])
            row = cursor.fetchone()
        here, now, standing = time.monotonic(), row[0], Standing(*row[1:4])
        after, found = grant(limits, standing, costs, settled)
        if after != standing:
            cursor.execute(_WRITE, [now, after.request_in, now, after.token_in, limits.key])
    return Grant([here + at for at in found.moments], found.retry_in, found.blocked_in)


def block(key: str, seconds: float) -> None:
    """The provider asked everybody to wait."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE, [key])
        cursor.execute(_BLOCK, [seconds, key])


def blocked_for(key: str) -> float:
    """Seconds that everybody has to wait still."""
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKED, [key])
        row = cursor.fetchone()
    return max(0.0, float(row[0])) if row else 0.0


def processes_on(endpoint: str) -> int:
    """Worker processes that pump a lane of the endpoint now, at least one."""
    with connection.cursor() as cursor:
        cursor.execute(_PROCESSES, [endpoint])
        return max(1, int(cursor.fetchone()[0]))


# The clock is read after the row is locked, however long that took. What a crash of the database takes back of these
# rows is at most a moment's grants, so their commits need not wait for the disk.
_READ = """
WITH locked AS MATERIALIZED (SELECT * FROM pipeline_ratelimit WHERE key = %s FOR UPDATE),
  clock AS MATERIALIZED (SELECT *, clock_timestamp() AS now FROM locked)
SELECT now, extract(epoch FROM next_request - now)::float8, extract(epoch FROM next_token - now)::float8,
  coalesce(extract(epoch FROM blocked_until - now)::float8, 0), set_config('synchronous_commit', 'off', true)
FROM clock"""
_WRITE = """
UPDATE pipeline_ratelimit SET updated_at = now(), next_request = %s + %s * interval '1 second',
  next_token = %s + %s * interval '1 second' WHERE key = %s"""
_CREATE = """
INSERT INTO pipeline_ratelimit (key, next_request, next_token, updated_at)
VALUES (%s, clock_timestamp(), clock_timestamp(), now()) ON CONFLICT DO NOTHING"""
_BLOCK = """
UPDATE pipeline_ratelimit SET updated_at = now(),
  blocked_until = greatest(blocked_until, clock_timestamp() + %s * interval '1 second') WHERE key = %s"""
_BLOCKED = "SELECT extract(epoch FROM blocked_until - clock_timestamp())::float8 FROM pipeline_ratelimit WHERE key = %s"
_PROCESSES = """
SELECT count(DISTINCT owner) FROM pipeline_pumplease
WHERE split_part(lane, '@', 2) = %s AND expires_at > now() AND owner NOT LIKE 'batch:%%'"""
