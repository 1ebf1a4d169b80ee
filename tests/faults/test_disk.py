"""A full disk under exports: the order fails with words that say so, leaves nothing behind, and succeeds once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.exports.build import build_export
from apps.exports.models import ExportState, Snapshot
from apps.exports.records import VARIANTS
from apps.exports.services import build_queued_exports, create_export, folder_of
from apps.exports.writers import FORMATS, Format
from tests.factories import make_finished_run

pytestmark = [
    pytest.mark.faults,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]
FULL_KB, ROOMY_KB = 64, 16_384  # an export below has some hundreds


def remount(folder: Path, kilobytes: int, *options: str) -> None:
    words = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kilobytes}k"]), "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    remount(folder, FULL_KB)
    settings.EXPORT_DIR = folder
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_on_a_full_disk(disk: Path, format: Format) -> None:
    run = make_finished_run(60)
    full = create_export(run=run, variants=VARIANTS, format=format)

    assert build_queued_exports() == 1

    full.refresh_from_db()
    assert (full.state, full.manifest) == (ExportState.FAILED, None)
    assert "No space left on device" in full.error
    assert list(disk.iterdir()) == [], "half an export, or what was to become one"

    remount(disk, ROOMY_KB, "remount")
    again = create_export(run=run, variants=VARIANTS, format=format)
    assert build_queued_exports() == 1
    again.refresh_from_db()
    assert (again.state, again.error) == (ExportState.DONE, "")
    assert {file["path"] for file in again.manifest["files"]} <= {p.name for p in folder_of(again).iterdir()}
    assert Snapshot.objects.count() == 2


def test_an_export_that_stands_is_kept_when_its_successor_does_not_fit(disk: Path) -> None:
    """Built anew in its own place: the old one is there until the new one is whole."""
    remount(disk, ROOMY_KB, "remount")
    run = make_finished_run(60)
    build_export(run=run, variants=VARIANTS, format="jsonl", out_dir=disk / "set")
    before = {p.name: p.read_bytes() for p in (disk / "set").iterdir()}
    used = sum(map(len, before.values())) // 1024
    remount(disk, used + used // 2, "remount")
    with pytest.raises(OSError, match="No space left"):
        build_export(run=run, variants=VARIANTS, format="jsonl", out_dir=disk / "set")
    assert {p.name: p.read_bytes() for p in (disk / "set").iterdir()} == before
    assert [p.name for p in disk.iterdir()] == ["set"]
