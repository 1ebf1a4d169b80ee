"""kill -9 of an export's builder: early, late, while finishing, and when all but the snapshot's row is there. Same bytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.instance import Instance, wait_for

pytestmark = pytest.mark.faults
QUESTIONS = 60
PAGE = 5
POINTS = ("page-2", "page-10", "finish", "placed")  # in this order, one builder each, of one export
SETUP = f"""
from tests.factories import make_finished_run
print(make_finished_run({QUESTIONS}, name="kills").pk)
"""
ORDER = """
from apps.exports.services import create_export
from apps.exports.config import ExportConfig
from apps.reasoning.models import Run
forms = ExportConfig(forms=("messages", "preferences", "csv"))
run = Run.objects.get(name="kills")
print(create_export(run=run, variants=["all"], format="{format}", config=forms).pk)
"""
# A builder that says where it is and waits there for its end; one without a point goes through.
BUILD = """
import time
from functools import partial
from pathlib import Path
from apps.exports import build, services
from apps.exports.journal import Journal

def stop_at(owner, name, said, behind=False):
    inner = getattr(owner, name)
    def wrapped(*args, **kwargs):
        stops = said() == "{point}"
        result = inner(*args, **kwargs) if behind or not stops else None
        if stops:
            Path("{mark}").touch()
            time.sleep(600)
        return result
    setattr(owner, name, wrapped)

pages = iter(range(10**6))
services.Journal = partial(Journal, page={page})
services.build_export = partial(build.build_export, limits=build.Limits(shard_bytes=4_000))
stop_at(build._Writing, "write_page", lambda: f"page-{{next(pages)}}")
stop_at(build, "write_beside", lambda: "finish")
stop_at(services, "_write", lambda: "placed", behind=True)
print(services.build_queued_exports())
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("exports")) as made:
        made.manage("shell", "-c", SETUP)
        yield made


def content_of(instance: Instance, export: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (instance.var / "exports" / export).iterdir()}


def kill_at(instance: Instance, point: str) -> None:
    mark = instance.var / f"at-{point}"
    mark.unlink(missing_ok=True)
    process = instance.start("shell", "-c", BUILD.format(point=point, mark=mark, page=PAGE))
    wait_for(lambda: mark.exists() or process.poll() is not None, point)
    assert process.poll() is None, instance.log("shell")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)


def build(instance: Instance) -> int:
    return int(instance.manage("shell", "-c", BUILD.format(point="none", mark="", page=PAGE)).split()[-1])


@pytest.mark.parametrize("format", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_a_killed_export_goes_on_and_has_the_same_bytes(instance: Instance, format: str) -> None:
    order = ORDER.format(format=format)
    whole = instance.manage("shell", "-c", order).split()[-1]
    assert build(instance) == 1
    killed = instance.manage("shell", "-c", order).split()[-1]
    journal = instance.var / "exports" / f".{killed}.pages"
    sizes = []

    for point in POINTS:
        kill_at(instance, point)
        sizes.append(journal.stat().st_size)
    assert build(instance) == 1

    state = "SELECT state FROM exports_snapshot WHERE id = %s"
    assert instance.query(state, killed) == [("done",)]
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3]
    assert content_of(instance, killed) == content_of(instance, whole)
    assert not journal.exists()
    assert [p.name for p in journal.parent.iterdir() if p.name.startswith(".")] == []
    rows = "SELECT number, question_id, slot, path_id, response_id, content FROM exports_snapshotrecord WHERE snapshot_id = %s ORDER BY 1"
    assert instance.query(rows, killed) == instance.query(rows, whole) != []
    manifest = json.loads(Path(journal.parent / killed / "manifest.json").read_text())
    assert manifest["changed_while_read"] == 0
