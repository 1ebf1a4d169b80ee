"""Reads for the export pages and the API."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.errors import ExportRefusedError
from apps.exports.folder import CERTIFICATE, CERTIFICATE_SIGNATURE, MANIFEST, SIGNATURE
from apps.exports.models import Snapshot
from apps.exports.preview import preview_export
from apps.exports.records import Variant
from apps.exports.writers import FileEntry
from apps.questions.models import Project
from apps.reasoning.models import Run


def check_signed_off(run: Run, config: ExportConfig = DEFAULT) -> None:
    """Raises ExportRefusedError while people have accepted less than the run asks for, before anything is written.

    The builder looks again at each record's content.
    """
    if run.config.get("sign_off") and (why_not := preview_export(run, config).refusal):
        raise ExportRefusedError(why_not)


def snapshots_of(project: Project) -> QuerySet[Snapshot]:
    """Newest first."""
    return (
        Snapshot.objects.filter(project=project, run__project=project)
        .select_related("run", "project", "created_by", "published_by")
        .order_by("-created_at", "-id")
    )


def snapshots_before(project: Project, before: UUID | None) -> QuerySet[Snapshot]:
    """Those that come after `before` in the list (keyset); all when it is None or not there. Without their manifests."""
    found = snapshots_of(project).defer("manifest")
    last = found.filter(pk=before).first() if before else None
    if last is None:
        return found
    return found.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk))


def snapshot_called(project: Project, called: str) -> Snapshot | None:
    """By the name it was published under, else as `<run>.<number>`."""
    found = snapshots_of(project)
    if called and (named := found.filter(name=called).first()):
        return named
    run, _, number = called.rpartition(".")
    if not number.isdecimal() or len(number) > 9:
        return None
    return found.filter(run__name=run, number=int(number)).first()


def files_of(snapshot: Snapshot, *, variant: Variant | None = None) -> list[FileEntry]:
    """The files of a finished snapshot as its manifest names them, the dataset card last."""
    if not snapshot.manifest:
        return []
    named = snapshot.manifest
    files: list[FileEntry] = [*named["files"], *named.get("extras", ()), named["card"]]
    return [f for f in files if variant is None or f["path"].startswith((f"{variant}-", f"{variant}."))]


def file_named(snapshot: Snapshot, name: str) -> FileEntry | None:
    """Only a name that the manifest knows, its own, or one that stands beside it; so no name can lead out of the folder."""
    if snapshot.manifest and name in (MANIFEST, SIGNATURE, CERTIFICATE, CERTIFICATE_SIGNATURE):
        return {"path": name, "sha256": "", "records": 0, "bytes": 0}
    return next((f for f in files_of(snapshot) if f["path"] == name), None)
