"""Ordering inspections and making them. Orders are rows; whoever calls `run_queued_inspections` makes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from apps.exports.contamination.scan import HIGHEST, LOWEST, THRESHOLD, Watch
from apps.exports.contamination.stored import basis_of, examine
from apps.exports.errors import ExportRefusedError, ExportStoppedError, LedgerBrokenError
from apps.exports.gates.stored import look_through
from apps.exports.models_checks import UNFINISHED, Inspection, InspectionKind, InspectionPair, InspectionState
from apps.questions.models import Project
from apps.reasoning.models import Run

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # those who take it up and may die before it counts as failed
PROGRESS_SECONDS = 0.5
WAIT_SECONDS = 0.5
LOCKS = 0x1D5E  # first half of the advisory locks' keys; the other half is the inspection's id


@transaction.atomic
def order_inspection(
    *, project: Project, kind: str, run: Run | None = None, threshold: float | None = None, by: User | None = None
) -> Inspection:
    """Of a run, or of all questions that the project may train on (contamination only). One that waits or is being made
    already is returned as it is. Raises ExportRefusedError for what makes no sense."""
    if kind not in InspectionKind.values or (kind == InspectionKind.GATES and run is None):
        raise ExportRefusedError("Choose a run and what to look for: gates or contamination.")
    if kind == InspectionKind.CONTAMINATION:
        threshold = THRESHOLD if threshold is None else threshold
        if not LOWEST <= threshold <= HIGHEST:
            raise ExportRefusedError(f"The similarity must be between {LOWEST} and {HIGHEST}.")
    else:
        threshold = None
    made, _ = Inspection.objects.get_or_create(
        project=project,
        run=run,
        kind=kind,
        threshold=threshold,
        state__in=UNFINISHED,
        defaults={"state": InspectionState.QUEUED, "created_by": by},
    )
    return made


def run_queued_inspections(*, should_stop: Callable[[], bool] | None = None) -> int:
    """Makes every inspection that waits, one after the other, and returns how many were done or failed.

    Safe to call from any number of processes: whoever makes one holds a lock that its database session loses when it
    dies, and the next one takes it up from the start.
    """
    made = 0
    while not (should_stop and should_stop()) and (inspection := _claim_next()):
        try:
            made += make_inspection(inspection, should_stop=should_stop)
        finally:
            _release(inspection)
    return made


def contamination_of(run: Run, *, threshold: float, should_stop: Callable[[], bool] | None = None) -> Inspection:
    """A finished one that rests on the questions as they are now: kept, or made now (or waited for, where another process
    makes it). Raises ExportStoppedError, and ExportRefusedError where it cannot be made."""
    kept = Inspection.objects.filter(
        run=run, kind=InspectionKind.CONTAMINATION, threshold=threshold, state=InspectionState.DONE
    )
    if found := kept.filter(basis=basis_of(run.project, run)).first():
        return found
    ordered = order_inspection(project=run.project, kind=InspectionKind.CONTAMINATION, run=run, threshold=threshold)
    return make_now(ordered, should_stop=should_stop)


def make_now(inspection: Inspection, *, should_stop: Callable[[], bool] | None = None) -> Inspection:
    """Makes it here, or waits for whoever makes it already. Raises ExportStoppedError, and ExportRefusedError where it fails."""
    while inspection.active:
        if _try_lock(inspection):
            try:
                inspection.refresh_from_db()  # whoever held the lock may have made it
                if inspection.active:
                    _take_up(inspection)
                    make_inspection(inspection, should_stop=should_stop)
            finally:
                _release(inspection)
        else:
            time.sleep(WAIT_SECONDS)
        inspection.refresh_from_db()
        if inspection.active and should_stop and should_stop():
            raise ExportStoppedError
    if inspection.state == InspectionState.FAILED:
        raise ExportRefusedError(f"The inspection failed: {inspection.error}")
    return inspection


def make_inspection(inspection: Inspection, *, should_stop: Callable[[], bool] | None = None) -> int:
    """1 when it is settled, 0 when it goes back to the queue. A lost database leaves it to the next who comes."""
    if inspection.attempts > MAX_ATTEMPTS:
        return _fail(inspection, f"Given up: whoever made it ended {MAX_ATTEMPTS} times before it was done.")
    watch = Watch(progress=_progress_of(inspection), should_stop=should_stop)
    begun = time.monotonic()
    try:
        make = look_through if inspection.kind == InspectionKind.GATES else examine
        result, pairs = make(inspection, watch)
        _keep(inspection, {**result, "seconds": round(time.monotonic() - begun, 1)}, pairs)
    except ExportStoppedError:
        Inspection.objects.filter(pk=inspection.pk).update(
            state=InspectionState.QUEUED, attempts=inspection.attempts - 1, done=0
        )
        return 0
    except (OperationalError, InterfaceError):
        log.exception("Inspection %s: the database was lost; it will be made again.", inspection.pk)
        raise
    except LedgerBrokenError as error:
        return _fail(inspection, f"{error}. Run check_ledger.")
    except Exception as error:
        log.exception("Inspection %s failed.", inspection.pk)
        return _fail(inspection, f"{type(error).__name__}: {error}")
    return 1


@transaction.atomic
def _keep(inspection: Inspection, result: dict[str, Any], pairs: list[InspectionPair]) -> None:
    """The result and its pairs together; those of an older inspection that asked the same go."""
    older = Inspection.objects.filter(
        project=inspection.project_id,
        run=inspection.run_id,
        kind=inspection.kind,
        threshold=inspection.threshold,
        pk__lt=inspection.pk,
    )
    InspectionPair.objects.filter(inspection__in=older).delete()
    InspectionPair.objects.bulk_create(pairs, batch_size=5_000)
    inspection.result, inspection.state, inspection.error = result, InspectionState.DONE, ""
    inspection.finished_at = timezone.now()
    inspection.save(update_fields=["result", "state", "error", "basis", "finished_at"])


def _claim_next() -> Inspection | None:
    """The oldest one that waits, or whose maker died. Its session lock is held until `_release`."""
    with transaction.atomic():
        waiting = Inspection.objects.select_for_update(skip_locked=True, of=("self",))
        waiting = waiting.select_related("project", "run__paths_from", "run__project").filter(state__in=UNFINISHED)
        inspection = next((one for one in waiting.order_by("id") if _try_lock(one)), None)
        if inspection is None:
            return None
        _take_up(inspection)
    return inspection


def _take_up(inspection: Inspection) -> None:
    inspection.state = InspectionState.RUNNING
    inspection.attempts += 1
    inspection.done = 0
    inspection.save(update_fields=["state", "attempts", "done"])


def _fail(inspection: Inspection, why: str) -> int:
    limit = Inspection._meta.get_field("error").max_length
    Inspection.objects.filter(pk=inspection.pk).update(
        state=InspectionState.FAILED, error=why[:limit], finished_at=timezone.now()
    )
    return 1


def _progress_of(inspection: Inspection) -> Callable[[int, int], None]:
    last = time.monotonic() - PROGRESS_SECONDS

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            Inspection.objects.filter(pk=inspection.pk).update(done=done, total=total)

    return progress


def _try_lock(inspection: Inspection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCKS, inspection.pk])
        return bool(cursor.fetchone()[0])


def _release(inspection: Inspection) -> None:
    with suppress(OperationalError, InterfaceError), connection.cursor() as cursor:  # a lost session has no lock left
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCKS, inspection.pk])
