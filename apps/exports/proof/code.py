"""Which code wrote an export."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from pathlib import Path

from django.conf import settings


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
