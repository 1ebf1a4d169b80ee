"""Pages are read by a thread while others are written; neither that nor their size changes anything that leaves."""

from __future__ import annotations

import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from apps.exports import lineage
from apps.exports.build import Limits, build_export
from apps.exports.errors import LedgerBrokenError
from apps.exports.lineage import read_pages
from apps.exports.records import VARIANTS
from apps.exports.writers import JsonlWriter
from apps.reasoning.models import PathLabel
from tests.factories import make_finished_run


@pytest.mark.django_db
def test_the_size_of_a_page_changes_no_byte(tmp_path):
    run = make_finished_run(8)
    contents = []

    for size in (1, 7, 200):
        out = tmp_path / str(size)
        build_export(run=run, variants=VARIANTS, format="jsonl.zst", out_dir=out, limits=Limits(page=size))
        contents.append({p.name: p.read_bytes() for p in out.iterdir()})

    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]["provenance.jsonl"].splitlines()) > 8


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_thread_reads_the_pages_that_a_transaction_reads_and_leaves_no_session():
    run = make_finished_run(8)
    with transaction.atomic():
        inside = list(read_pages(run, page=3))

    assert list(read_pages(run, page=3)) == inside
    assert [len(page) for page in inside] == [3, 3, 2]
    assert list(read_pages(run, page=3, after=inside[0][-1].row.question_id)) == inside[1:]

    given_up = read_pages(run, page=1)
    next(given_up)
    given_up.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-pages")]
    deadline = time.monotonic() + 10
    while _sessions() > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _sessions() == 1

    PathLabel.objects.filter(run=run).update(label="error")
    with pytest.raises(LedgerBrokenError, match="which is error"):
        list(read_pages(run, page=3))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_reading_ahead_holds_two_pages_whatever_the_size_of_the_run(monkeypatch):
    class Page(list):
        pass

    alive: weakref.WeakSet[Page] = weakref.WeakSet()
    most = 0

    def read(run, *, after, upto):
        nonlocal most
        page = Page([SimpleNamespace(row=SimpleNamespace(question_id=upto))])
        alive.add(page)
        most = max(most, len(alive))
        return page

    Page.__hash__ = object.__hash__  # type: ignore[method-assign]
    monkeypatch.setattr(lineage, "_read_page", read)
    monkeypatch.setattr(lineage, "bounds_of", lambda run, *, page, after: ((n, n + 1) for n in range(200)))

    assert sum(len(page) for page in read_pages(SimpleNamespace())) == 200
    assert most <= 4  # the one at hand, the next, and those on their way from hand to hand


@pytest.mark.django_db
def test_what_fails_behind_the_writer_fails_the_export_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JsonlWriter, "_write_data", full)

    with pytest.raises(OSError, match="No space left"):
        build_export(run=make_finished_run(2), variants=VARIANTS, format="jsonl", out_dir=tmp_path / "out")

    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("write-")]


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
