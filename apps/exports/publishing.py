"""From candidate to snapshot: a name for ever. And a candidate's end, for one that nobody wants."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from apps.exports.errors import ExportRefusedError
from apps.exports.folder import MANIFEST
from apps.exports.holding import forget_rows
from apps.exports.models import ExportState, Snapshot
from apps.exports.selectors import files_of
from apps.questions.models import Project

STEM = "reasonmed"  # of the name that is proposed
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,98}[a-z0-9]")


def publish_snapshot(*, snapshot: Snapshot, name: str, by: User | None) -> Snapshot:
    """Gives a candidate its name. Raises ExportRefusedError: no candidate, not publishable, or the name is taken or none."""
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise ExportRefusedError(
            "A name has 3 to 100 characters: lower-case letters, digits, and . _ - between them, as reasonmed-2026.1."
        )
    if why_not := refusal_to_publish(snapshot):
        raise ExportRefusedError(why_not)
    _check_files(snapshot)
    try:
        with transaction.atomic():
            candidate = Snapshot.objects.filter(pk=snapshot.pk, state=ExportState.DONE, name="")
            published = candidate.update(name=name, published_by=by, published_at=timezone.now())
    except IntegrityError:
        raise ExportRefusedError(f"{name} is taken: a name is never given twice. Choose another.") from None
    snapshot.refresh_from_db()
    if not published:
        raise ExportRefusedError(f"It was published already, as {snapshot.name}.")
    return snapshot


def refusal_to_publish(snapshot: Snapshot) -> str:
    """Why it cannot be published, whatever the name; "" where it can."""
    if snapshot.published:
        return f"It was published already, as {snapshot.name}."
    if not snapshot.candidate or not snapshot.manifest:
        return "Only an export that is whole can be published."
    if not snapshot.records:
        return "It holds no records."
    if snapshot.simulated:
        told = (
            f"{snapshot.manifest['simulated_records']:,} of {snapshot.records:,} records rest on simulated model calls"
        )
        return f"{told}: nobody may take them for the real thing, so it stays a candidate."
    return ""


def discard_candidate(*, snapshot: Snapshot) -> None:
    """Deletes a candidate (or an export that failed) with its files. Raises ExportRefusedError for what must stay."""
    if snapshot.published:
        raise ExportRefusedError(f"{snapshot.name} is published and stays.")
    if snapshot.active:
        raise ExportRefusedError("It is being written; discard it when that has ended.")
    try:
        with transaction.atomic():
            gone = Snapshot.objects.select_for_update().filter(pk=snapshot.pk, name="").first()
            if gone is None:
                raise ExportRefusedError("It was published or discarded by now.")
            forget_rows(gone.pk)
            gone.delete()  # raises ProtectedError, and nothing was forgotten, where a certificate rests on it
            if gone.folder:
                files = Path(settings.EXPORT_DIR) / gone.folder
                transaction.on_commit(lambda: shutil.rmtree(files, ignore_errors=True))
    except ProtectedError as error:
        kinds = sorted({str(one._meta.verbose_name_plural) for one in error.protected_objects})
        raise ExportRefusedError(f"It stays: {' and '.join(kinds)} rest on it.") from None


def propose_name(project: Project) -> str:
    """reasonmed-<year>.<n>, with the first n behind those that are taken."""
    stem = f"{STEM}-{timezone.now().year}."
    taken = Snapshot.objects.filter(project=project, name__startswith=stem).values_list("name", flat=True)
    numbers = [int(rest) for name in taken if (rest := name.removeprefix(stem)).isdecimal()]
    return f"{stem}{max(numbers, default=0) + 1}"


def _check_files(snapshot: Snapshot) -> None:
    """What is published is what was built: the manifest on the disk, and every file in its size."""
    folder = Path(settings.EXPORT_DIR) / snapshot.folder
    try:
        whole = json.loads((folder / MANIFEST).read_bytes()) == snapshot.manifest
        whole = whole and all((folder / f["path"]).stat().st_size == f["bytes"] for f in files_of(snapshot))
    except (OSError, ValueError):
        whole = False
    if not whole:
        raise ExportRefusedError(
            "Its files are not those that were built: they were changed, or lost. Export it again."
        )
