"""Ordering exports and building them. Orders are rows; whoever calls `build_queued_exports` builds them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Max
from django.utils import timezone

from apps.exports.build import build_export
from apps.exports.config import DEFAULT, ExportConfig, read_config
from apps.exports.errors import ExportRefusedError, ExportStoppedError, LedgerBrokenError
from apps.exports.holding import Holding
from apps.exports.journal import Journal
from apps.exports.making.pool import ReaderLostError
from apps.exports.models import ExportState, Snapshot
from apps.exports.records import parse_variants
from apps.exports.selectors import check_signed_off
from apps.exports.writers import FORMATS, Format
from apps.reasoning.models import Run, RunQuestion

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # builders that may die on a snapshot before it counts as failed
PROGRESS_SECONDS = 0.5


@transaction.atomic
def create_export(
    *,
    run: Run,
    variants: Iterable[str],
    format: str,
    config: ExportConfig = DEFAULT,
    created_by: User | None = None,
) -> Snapshot:
    """Orders an export, to be built by a worker. Raises ExportRefusedError for what makes no sense, or is not signed off."""
    try:
        chosen = parse_variants(variants)
    except ValueError as error:
        raise ExportRefusedError(f"{str(error).capitalize()}.") from error
    if format not in FORMATS:
        raise ExportRefusedError(f"No such format: {format}. Choose one of {', '.join(FORMATS)}.")
    if config.sources == "held_out" and not run.allow_held_out:
        raise ExportRefusedError(f"{run.name} does not allow held-out questions, so it has none to export.")
    check_signed_off(run, config)
    Run.objects.select_for_update().get(pk=run.pk)  # one number each, also for two orders at once
    last = Snapshot.objects.filter(run=run).aggregate(last=Max("number"))["last"] or 0
    return Snapshot.objects.create(
        run=run,
        number=last + 1,
        variants=list(chosen),
        format=format,
        config=config.as_json(),
        created_by=created_by,
    )


def build_queued_exports(*, should_stop: Callable[[], bool] | None = None) -> int:
    """Builds every export that waits, one after the other, and returns how many were done or failed.

    Safe to call from any number of processes: a builder holds a lock that its database session loses when it dies, so
    that another takes up what it left, and need not read again what its journal holds. `should_stop` is asked between
    pages; then the one at hand goes back to the queue, its journal kept.
    """
    built = 0
    while not (should_stop and should_stop()) and (snapshot := _claim_next()):
        try:
            built += _build(snapshot, should_stop)
        finally:
            _release(snapshot)
    return built


def folder_of(snapshot: Snapshot) -> Path:
    return Path(settings.EXPORT_DIR) / snapshot.folder


def journal_of(snapshot: Snapshot) -> Path:
    """What was read for it, while it is being built."""
    return Path(settings.EXPORT_DIR) / f".{snapshot.pk}.pages"


def _claim_next() -> Snapshot | None:
    """The oldest one that waits, or whose builder died. Its session lock is held until `_release`."""
    with transaction.atomic():
        waiting = Snapshot.objects.select_for_update(skip_locked=True, of=("self",)).select_related("run__paths_from")
        waiting = waiting.filter(state__in=(ExportState.QUEUED, ExportState.BUILDING)).order_by("created_at")
        snapshot = next((s for s in waiting if _try_lock(s)), None)
        if snapshot is None:
            return None
        snapshot.state = ExportState.BUILDING
        snapshot.attempts += 1
        snapshot.folder = str(snapshot.pk)
        snapshot.questions = RunQuestion.objects.filter(run_id=snapshot.run_id).count()
        snapshot.save(update_fields=["state", "attempts", "folder", "questions"])
    return snapshot


def _build(snapshot: Snapshot, should_stop: Callable[[], bool] | None) -> int:
    """1 when the snapshot is settled, 0 when it goes back to the queue. A lost database or reader leaves it to the next builder."""
    if snapshot.attempts > MAX_ATTEMPTS:
        return _fail(snapshot, f"Given up: its builder ended {MAX_ATTEMPTS} times before it was done.")
    try:
        manifest = _write(snapshot, should_stop)
    except ExportStoppedError:
        Snapshot.objects.filter(pk=snapshot.pk).update(state=ExportState.QUEUED, attempts=snapshot.attempts - 1)
        return 0
    except (OperationalError, InterfaceError, ReaderLostError):
        log.exception("Export %s: the database or a reader was lost; it will be built again.", snapshot)
        raise
    except (ExportRefusedError, LedgerBrokenError) as error:
        return _fail(snapshot, str(error))
    except OSError as error:
        return _fail(snapshot, f"The files could not be written: {error.strerror or error}.")
    except Exception as error:
        log.exception("Export %s failed.", snapshot)
        return _fail(snapshot, f"{type(error).__name__}: {error}")
    total = manifest["questions"]["total"]
    Snapshot.objects.filter(pk=snapshot.pk).update(
        state=ExportState.DONE,
        manifest=manifest,
        records=manifest["records"],
        bytes=sum(f["bytes"] for f in (*manifest["files"], *manifest["extras"], manifest["card"])),
        simulated=manifest["simulated"],
        held_out=manifest["held_out"],
        questions=total,
        done_questions=total,
        error="",
        finished_at=timezone.now(),
    )
    journal_of(snapshot).unlink(missing_ok=True)
    return 1


def _write(snapshot: Snapshot, should_stop: Callable[[], bool] | None) -> dict[str, Any]:
    """The files, and the rows of what they hold; all but the snapshot's own row."""
    holding = Holding(snapshot.pk)
    with Journal(journal_of(snapshot), snapshot.run) as journal:
        manifest = build_export(
            run=snapshot.run,
            variants=parse_variants(snapshot.variants),
            format=cast("Format", snapshot.format),
            out_dir=folder_of(snapshot),
            config=read_config(snapshot.config),
            pages=journal,
            holding=holding,
            progress=_progress_of(snapshot),
            should_stop=should_stop,
        )
    holding.write()
    return manifest


def _fail(snapshot: Snapshot, why: str) -> int:
    limit = Snapshot._meta.get_field("error").max_length
    Snapshot.objects.filter(pk=snapshot.pk).update(
        state=ExportState.FAILED, error=why[:limit], finished_at=timezone.now()
    )
    with suppress(OSError):
        journal_of(snapshot).unlink()
    if snapshot.folder:  # put in place by a builder that died before it could say so
        shutil.rmtree(folder_of(snapshot), ignore_errors=True)
    return 1


def _progress_of(snapshot: Snapshot) -> Callable[[int], None]:
    """Tells how far it is. A builder that gets further than any before it does not count as one more that died."""
    last, furthest = float("-inf"), snapshot.done_questions

    def progress(done: int) -> None:
        nonlocal last
        if done > furthest and time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            Snapshot.objects.filter(pk=snapshot.pk).update(done_questions=done, attempts=1)

    return progress


def _try_lock(snapshot: Snapshot) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_lock_key(snapshot)])
        return bool(cursor.fetchone()[0])


def _release(snapshot: Snapshot) -> None:
    with suppress(OperationalError, InterfaceError), connection.cursor() as cursor:  # a lost session has no lock left
        cursor.execute("SELECT pg_advisory_unlock(%s)", [_lock_key(snapshot)])


def _lock_key(snapshot: Snapshot) -> int:
    return snapshot.pk.int & (2**63 - 1)
