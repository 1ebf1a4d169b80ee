"""Leases in the ledger: who pumps which lane, which tasks it holds, and how they come back when it dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.db import connection, transaction

MOST_PUMPS = 90  # of a lane; slots from there on are those of batches
TTL_S = 30  # a pump that has not been heard of for so long has lost its tasks
HEARTBEAT_S = 5


@dataclass(frozen=True, slots=True)
class Leased:
    task: int
    run: int
    question: int
    seen: int
    attempts: int


def process_start(pid: int) -> str:
    """When a process of this host started (clock ticks since boot), "" when there is none: tells a reused pid."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


@cache
def place() -> str:
    """Where process ids mean the same: this host since it was started, and of its containers this one. Hosts may share a
    name, and containers their host's."""
    with contextlib.suppress(OSError):
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
        return f"{socket.gethostname()[:60]}@{hashlib.sha256(kernel.encode()).hexdigest()[:8]}"
    return socket.gethostname()[:60]


def owner_name() -> str:
    return f"{place()}:{os.getpid()}:{process_start(os.getpid())}"


def worker_name() -> str:
    """Under which this process's calls are counted: REASONMED_WORKER, else the host's name."""
    return (os.environ.get("REASONMED_WORKER") or socket.gethostname())[:60]


def claim_pump(lane: str, slot: int, *, alone: bool = False) -> uuid.UUID | None:
    """The token of the lane's slot, or none when another pump has it; with `alone`, also when this process pumps the lane
    already: two pumps in one process make no more calls than one."""
    token = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pipeline_pumplease (id, lane, slot, owner, started_at, expires_at)"
            " SELECT %s, %s, %s, %s, now(), now() + %s * interval '1 second'"
            " WHERE NOT %s OR NOT EXISTS (SELECT 1 FROM pipeline_pumplease WHERE lane = %s AND owner = %s AND slot < %s)"
            " ON CONFLICT (lane, slot) DO NOTHING",
            [token, lane, slot, owner_name(), TTL_S, alone, lane, owner_name(), MOST_PUMPS],
        )
        return token if cursor.rowcount else None


def beat(token: uuid.UUID) -> bool:
    """Keep the lease; False when it is lost."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pipeline_pumplease SET expires_at = now() + %s * interval '1 second' WHERE id = %s AND expires_at > now()",
            [TTL_S, token],
        )
        return bool(cursor.rowcount)


def lease_tasks(token: uuid.UUID, lane: str, limit: int, *, batch_of: int | None = None) -> list[Leased]:
    """Ready tasks of the lane's running runs, oldest run first; others' locked rows are skipped.

    Runs that have the lane's endpoint as a Batch API are passed over, but for the one named by `batch_of`.
    """
    batch = json.dumps({"endpoints": [{"name": lane.partition("@")[2], "transport": "batch"}]})
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH picked AS (
              SELECT t.id FROM pipeline_task t
              WHERE t.lane = %s AND t.state = 'ready' AND (t.not_before IS NULL OR t.not_before <= now())
                AND t.run_id = ANY(ARRAY(SELECT id FROM reasoning_run WHERE state = 'running'
                  AND CASE WHEN %s::bigint IS NULL THEN NOT config @> %s::jsonb ELSE id = %s END))
              ORDER BY t.run_id, t.id LIMIT %s FOR UPDATE SKIP LOCKED)
            UPDATE pipeline_task t SET state = 'leased', lease_id = %s, seen = t.wanted FROM picked WHERE t.id = picked.id
            RETURNING t.id, t.run_id, t.unit_id, t.seen, t.attempts""",
            [lane, batch_of, batch, batch_of, limit, token],
        )
        return [Leased(*row) for row in sorted(cursor.fetchall())]


def release_pump(token: uuid.UUID) -> None:
    _give_back([token])


def expire_pumps() -> int:
    """Give back what dead pumps hold: expired ones, and those whose process on this host is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, owner, expires_at < now() FROM pipeline_pumplease")
        dead = [token for token, owner, expired in cursor.fetchall() if expired or _is_gone(owner)]
    return _give_back(dead)


def _is_gone(owner: str) -> bool:
    host, pid, started = (*owner.split(":"), "", "")[:3]
    return host == place() and pid.isdigit() and process_start(int(pid)) != started


@transaction.atomic
def _give_back(tokens: list[uuid.UUID]) -> int:
    if not tokens:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM pipeline_pumplease WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [tokens])
        held = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "UPDATE pipeline_task SET state = 'ready', lease_id = NULL WHERE lease_id = ANY(%s) AND state = 'leased'",
            [held],
        )
        cursor.execute("DELETE FROM pipeline_pumplease WHERE id = ANY(%s)", [held])
    return len(held)
