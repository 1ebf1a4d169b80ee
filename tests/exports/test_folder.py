"""A folder appears whole or not at all, also when the builder is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from apps.exports.errors import ExportRefusedError
from apps.exports.folder import SCHEMA_NAME, atomic_folder

OURS = {"schema": SCHEMA_NAME, "files": [{"path": "reasonmed.jsonl"}]}


def fill(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(json.dumps(OURS))
    (folder / "reasonmed.jsonl").write_text(text)


def write(target: Path, text: str) -> None:
    with atomic_folder(target) as folder:
        fill(folder, text)


def test_a_new_an_empty_and_an_earlier_export_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "deep" / "new", tmp_path / "empty"):
        write(target, "1")
        write(target, "2")

        assert (target / "reasonmed.jsonl").read_text() == "2"
        assert [p.name for p in target.parent.iterdir() if p.name.startswith(".")] == []


def test_an_export_of_more_files_leaves_none_of_the_old_ones(tmp_path):
    write(tmp_path / "out", "1")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "manifest.json").write_text("{}")

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["manifest.json"]


def somebodys_file(target: Path) -> None:
    target.mkdir()
    (target / "thesis.docx").write_text("mine")


def ours_and_somebodys(target: Path) -> None:
    write(target, "1")
    (target / "thesis.docx").write_text("mine")


def foreign_manifest(target: Path) -> None:
    target.mkdir()
    (target / "manifest.json").write_text('{"schema": "other", "files": []}')


def a_file(target: Path) -> None:
    target.write_text("mine")


def a_link(target: Path) -> None:
    (target.parent / "real").mkdir()
    target.symlink_to(target.parent / "real")


@pytest.mark.parametrize("make", [somebodys_file, ours_and_somebodys, foreign_manifest, a_file, a_link])
def test_a_place_that_is_not_ours_is_refused_and_untouched(tmp_path, make):
    target = tmp_path / "out"
    make(target)
    before = sorted((p.relative_to(tmp_path), p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*"))

    with pytest.raises(ExportRefusedError, match="out"):
        write(target, "2")

    assert sorted((p.relative_to(tmp_path), p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*")) == before


def test_a_place_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportRefusedError, match="cannot be"):
        write(tmp_path / "file" / "out", "1")


def test_a_failure_leaves_the_earlier_export_and_nothing_else(tmp_path):
    write(tmp_path / "out", "1")

    def write_half() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()

    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "reasonmed.jsonl").read_text() == "1"


CHILD = """
import sys, time
from pathlib import Path
from apps.exports.folder import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def builder(tmp_path):
    """A living builder that has written half."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "writing\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_killed_builder_leaves_nothing_in_place_and_the_next_one_clears_up(tmp_path, builder):
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 1

    write(tmp_path / "out", "1")

    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_living_builder_keeps_what_it_has_written(tmp_path, builder):
    write(tmp_path / "out", "1")

    assert [p.name for p in tmp_path.glob(".out.*/half")] == ["half"]
