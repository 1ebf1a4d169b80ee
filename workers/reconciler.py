"""Keeps pumps alive where there is work, returns what dead ones held, finishes runs. One leader at a time."""

from __future__ import annotations

import logging
import threading
import time

from django.db import connection

from apps.pipeline.budget import book_unknown
from apps.pipeline.config import SERVED, RunConfig
from apps.pipeline.lanes import lanes_of
from apps.pipeline.services import settle_runs
from apps.reasoning.models import Run, RunState
from workers.actors import pump
from workers.batch.wake import SLOT as BATCH_SLOT
from workers.batch.wake import batch_lanes_with_work
from workers.leases import expire_pumps
from workers.serving.discovery import served_addresses

log = logging.getLogger(__name__)
ADVISORY_LOCK = 0x5EA50  # of the leader
PERIOD_S = 0.3
RESEND_S = 3.0  # a wake-up that started no pump within this time is sent again


class Reconciler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self.stopping = threading.Event()
        self._sent: dict[str, float] = {}

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                if self._lead():
                    reconcile(self._sent)
            except Exception as error:  # a broker or database that is away comes back; the rest is said once a round
                log.warning("reconciler: %s: %s; trying again", type(error).__name__, str(error).split("\n")[0])
                log.debug("reconciler", exc_info=True)
                connection.close()
            self.stopping.wait(PERIOD_S)
        connection.close()

    def stop(self) -> None:
        self.stopping.set()
        self.join(timeout=10)

    def _lead(self) -> bool:
        """A session's lock: it falls to another worker when this connection ends."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid()",
                [ADVISORY_LOCK],
            )
            if cursor.fetchone()[0]:
                return True
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
            return bool(cursor.fetchone()[0])


def reconcile(sent: dict[str, float]) -> None:
    """One round. `sent`: when each lane was last woken."""
    tidy_up()
    for lane in lanes_with_work():
        if time.monotonic() - sent.get(lane, -RESEND_S) >= RESEND_S:
            sent[lane] = time.monotonic()
            pump.send(lane, 0)
    for lane in batch_lanes_with_work():
        if time.monotonic() - sent.get(f"batch:{lane}", -RESEND_S) >= RESEND_S:
            sent[f"batch:{lane}"] = time.monotonic()
            pump.send(lane, BATCH_SLOT)


def tidy_up() -> None:
    """What dead pumps held is free again, what they may have spent is booked, and runs without work are finished."""
    expire_pumps()
    book_unknown()
    settle_runs()


def lanes_with_work() -> list[str]:
    """Lanes of running runs that have a task ready now and no live pump."""
    found: dict[str, None] = {}
    for run in Run.objects.filter(state=RunState.RUNNING).order_by("id"):
        config = RunConfig.model_validate(run.config)
        for lane in lanes_of(config):
            if lane not in found and _ready(run.pk, lane) and has_server(config, lane):
                found[lane] = None
    return list(found)


def has_server(config: RunConfig, lane: str) -> bool:
    """False where `serve_models` has no server ready for the lane's endpoint: a pump would only hand its tasks back.

    Lanes of engines are not for this worker at all: `run_engine` pumps them. Those of a Batch API have pumps of their own.
    """
    endpoint = config.endpoint(lane.partition("@")[2])
    if endpoint.transport in ("engine", "batch"):
        return False
    return endpoint.base_url != SERVED or bool(served_addresses(endpoint))


def _ready(run_id: int, lane: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pipeline_task WHERE run_id = %s AND lane = %s AND state = 'ready'"
            " AND (not_before IS NULL OR not_before <= now()))"
            " AND NOT EXISTS (SELECT 1 FROM pipeline_pumplease WHERE lane = %s AND slot = 0 AND expires_at > now())",
            [run_id, lane, lane],
        )
        return bool(cursor.fetchone()[0])
