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
from workers.leases import MOST_PUMPS, expire_pumps
from workers.serving.discovery import served_addresses

log = logging.getLogger(__name__)
ADVISORY_LOCK = 0x5EA50  # of the leader
PRESENCE_LOCK = 0x5EA51  # shared by all workers: who holds it is there
SPARE = 16  # questions ready that nobody has taken: another worker takes part in the lane
PERIOD_S = 0.3
RESEND_S = 3.0  # a wake-up that started no pump within this time is sent again


class Reconciler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self.stopping = threading.Event()
        self._sent: dict[tuple[str, int], float] = {}

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._announce()
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

    def _announce(self) -> None:
        """A session's lock, like the leader's: both fall when this connection ends, whatever a host's clock says."""
        if not _holds(PRESENCE_LOCK):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock_shared(%s)", [PRESENCE_LOCK])

    def _lead(self) -> bool:
        if _holds(ADVISORY_LOCK):
            return True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
            return bool(cursor.fetchone()[0])


def _holds(lock: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid()",
            [lock],
        )
        return bool(cursor.fetchone()[0])


def workers_present() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [PRESENCE_LOCK],
        )
        return int(cursor.fetchone()[0])


def reconcile(sent: dict[tuple[str, int], float]) -> None:
    """One round. `sent`: when each slot of a lane was last woken."""
    tidy_up()
    wanted = list(lanes_with_work(workers_present()).items()) + [(lane, BATCH_SLOT) for lane in batch_lanes_with_work()]
    for lane, slot in wanted:
        if time.monotonic() - sent.get((lane, slot), -RESEND_S) >= RESEND_S:
            sent[lane, slot] = time.monotonic()
            pump.send(lane, slot)


def tidy_up() -> None:
    """What dead pumps held is free again, what they may have spent is booked, and runs without work are finished."""
    expire_pumps()
    book_unknown()
    settle_runs()


def lanes_with_work(workers: int = 1) -> dict[str, int]:
    """Lanes of running runs with tasks ready now, each with the slot of the pump that it lacks: the first one, or, where
    the pumps leave work lying and there are more workers than pumps, one more."""
    found: dict[str, int] = {}
    for run in Run.objects.filter(state=RunState.RUNNING).order_by("id"):
        config = RunConfig.model_validate(run.config)
        for lane in lanes_of(config):
            if lane in found or not has_server(config, lane):
                continue
            ready, taken = _ready(run.pk, lane)
            if ready >= (SPARE if taken else 1) and len(taken) < min(max(1, workers), MOST_PUMPS):
                found[lane] = min(set(range(len(taken) + 1)) - taken)
    return found


def has_server(config: RunConfig, lane: str) -> bool:
    """False where `serve_models` has no server ready for the lane's endpoint: a pump would only hand its tasks back.

    Lanes of engines are not for this worker at all: `run_engine` pumps them. Those of a Batch API have pumps of their own.
    """
    endpoint = config.endpoint(lane.partition("@")[2])
    if endpoint.transport in ("engine", "batch"):
        return False
    return endpoint.base_url != SERVED or bool(served_addresses(endpoint))


def _ready(run_id: int, lane: str) -> tuple[int, set[int]]:
    """How many tasks are ready, counted to SPARE, and which slots have a live pump."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM pipeline_task WHERE run_id = %s AND lane = %s AND state = 'ready'"
            " AND (not_before IS NULL OR not_before <= now()) LIMIT %s) few),"
            " ARRAY(SELECT slot FROM pipeline_pumplease WHERE lane = %s AND slot < %s AND expires_at > now())",
            [run_id, lane, SPARE, lane, MOST_PUMPS],
        )
        ready, taken = cursor.fetchone() or (0, [])
        return int(ready), set(taken)
