"""What may be pushed: a published snapshot that is not simulated, whose files are as they were written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from apps.exports.errors import ExportRefusedError
from apps.exports.folder import MANIFEST
from apps.exports.models import Snapshot
from apps.exports.services import folder_of
from apps.questions.models import Project
from reasonmed_verify.checks import check_folder


@dataclass(frozen=True, slots=True)
class Pushable:
    name: str
    folder: Path
    root: str

    @property
    def files(self) -> list[Path]:
        """The manifest last: who finds it finds all that it names."""
        found = sorted(p for p in self.folder.iterdir() if p.is_file())
        return sorted(found, key=lambda p: p.name == MANIFEST)


def pushable(project: Project, name: str) -> Pushable:
    """Raises ExportRefusedError."""
    snapshot = Snapshot.objects.filter(project=project, name=name).exclude(name="").first()
    if snapshot is None or snapshot.manifest is None:
        raise ExportRefusedError(f"No published snapshot is named {name!r}.")
    if snapshot.simulated:
        raise ExportRefusedError(f"{name} rests on simulated model calls: it stays here.")
    folder = folder_of(snapshot)
    problems = [f.text for f in check_folder(folder) if f.kind == "problem"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ExportRefusedError(f"The files of {name} are not as they were written: {problems[0]}{more}.")
    return Pushable(name, folder, snapshot.manifest["merkle"]["root"])
