"""An export folder appears whole or not at all: it is written beside its place and renamed into it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from apps.exports.errors import ExportRefusedError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # only where the export is signed
CARD = "README.md"
CERTIFICATE = "certificate.json"  # beside the manifest once there is one, and not named in it
CERTIFICATE_SIGNATURE = "certificate.sig"
BESIDE = frozenset({MANIFEST, SIGNATURE, CARD, CERTIFICATE, CERTIFICATE_SIGNATURE})
SCHEMA_NAME = "reasonmed-export/1"  # the manifest's `schema`, by which we know a folder as ours


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes `target` when the block ends well, and vanishes when it does not.

    A builder that was killed leaves a hidden folder beside the target; the next one for the same target removes it
    (a living builder holds a lock on its own). Raises ExportRefusedError when `target` holds something that is not ours.
    """
    target = target.absolute()
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        work = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
        work.mkdir()
    except OSError as error:
        raise ExportRefusedError(f"{target}: cannot be written: {error.strerror}.") from error
    with _locked(work):
        try:
            yield work
            _put_in_place(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def check_target(target: Path) -> None:
    """Nothing is there, an empty folder, or an earlier export of ours and nothing else. Raises ExportRefusedError."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportRefusedError(f"{target}: is not a folder; choose another place.")
    try:
        present = {p.name for p in target.iterdir()} if target.exists() else set()
    except OSError as error:
        raise ExportRefusedError(f"{target}: cannot be read: {error.strerror}.") from error
    if present and not _is_ours(target, present):
        raise ExportRefusedError(
            f"{target}: is not empty and not an earlier export alone; choose an empty or a new folder."
        )


def _is_ours(target: Path, present: set[str]) -> bool:
    try:
        manifest = json.loads((target / MANIFEST).read_bytes())
        named = {f["path"] for f in (*manifest["files"], *manifest.get("extras", ()))}
        return manifest["schema"] == SCHEMA_NAME and present <= named | BESIDE
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _put_in_place(work: Path, target: Path) -> None:
    _sync(work)
    if not target.exists() or not any(target.iterdir()):
        work.rename(target)  # replaces an empty folder
    else:
        check_target(target)
        aside = work.with_name(work.name.replace(".tmp", ".old.tmp"))
        target.rename(aside)
        work.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    _sync(target.parent)


def _remove_leftovers(target: Path) -> None:
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}(\.old)?\.tmp")
    for left in target.parent.iterdir():
        if ours.fullmatch(left.name) and left.is_dir():
            with suppress(OSError), _locked(left):
                shutil.rmtree(left)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system gives back when its holder dies. Raises OSError when another has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
