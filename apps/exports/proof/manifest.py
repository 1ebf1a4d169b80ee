"""What a manifest says so that an export can be checked: roots over its records, the code that wrote it, who signed it."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.exports.writers import FileEntry, RecordWriter
from reasonmed_verify.manifest import HASH, root_of_sets


def merkle_section(
    sets: Sequence[tuple[RecordWriter, Sequence[FileEntry]]], *, trails: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The root over all sets and that of each, from finished writers and the files they made.

    `trails`: by the name of a set that counts on its own, the set that says where its records come from.
    """
    trails = trails or {}
    roots = [(writer.name, writer.tree.size, writer.tree.root().hex()) for writer, _ in sets]
    return {
        "hash": HASH,
        "root": root_of_sets(roots),
        "sets": [
            {"set": name, "records": records, "root": root, "files": [file["path"] for file in files]}
            | ({"trail": trails[name]} if name in trails else {})
            for (name, records, root), (_, files) in zip(roots, sets, strict=True)
        ],
    }


@cache
def code_version() -> str:
    """The project's version and, in a checkout, its commit (`0.1.0+5ab4773e1f02`; `.dirty` with changes not committed)."""
    project = Path(settings.BASE_DIR) / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"] if project.is_file() else "unknown"
    commit = _commit(project.parent)
    return f"{version}+{commit}" if commit else version


def _commit(folder: Path) -> str:
    """Empty where there is no checkout of git, as in an image."""
    if not (folder / ".git").exists():
        return ""
    command = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=.dirty"]
    try:
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return made.stdout.strip()
