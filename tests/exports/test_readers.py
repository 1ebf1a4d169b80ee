"""Readers beside the builder: the same bytes as without them, nothing left when either dies, failures in the builder's words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig
from apps.exports.errors import ExportStoppedError, LedgerBrokenError
from apps.exports.journal import Journal
from apps.exports.making import pool
from apps.exports.making.parts import Order, Place
from apps.exports.making.pool import ReaderLostError, Readers
from apps.exports.making.sets import SetMaker, content_digest
from apps.exports.models_checks import GateCheck
from apps.exports.records import VARIANTS, make_records
from apps.exports.rows import BenchmarkRow, PathRow, QuestionRow, ResponseRow
from apps.reasoning.models import PathLabel, ReasoningPath, Selection
from apps.review.records.content import content_hash
from tests.factories import make_finished_run

ALL = ("csv", "messages", "preferences", "steps")


def export(run, out: Path, **given):
    given = {"variants": VARIANTS, "format": "jsonl", "limits": Limits(page=3)} | given
    return build_export(run=run, out_dir=out, **given)


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def beside(settings, monkeypatch):
    """Readers from the first question on; given that, the builder's process ids of them."""
    monkeypatch.setattr(pool, "ALONE_UPTO", 0)
    settings.EXPORT_READERS = 2
    opened: list[int] = []
    enter = Readers.__enter__

    def entered(self):
        enter(self)
        opened.extend(self.processes)
        return self

    monkeypatch.setattr(Readers, "__enter__", entered)
    return opened


def gone(pids: list[int], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_readers_make_the_bytes_that_are_made_without_them(tmp_path, settings, beside):
    run = make_finished_run(16)
    twins = Selection.objects.filter(run=run, current=True).select_related("path").order_by("question_id", "slot")
    text = twins[0].path.text
    ReasoningPath.objects.filter(pk__in=[s.path_id for s in twins[3:6]]).update(text=f"  {text} ")
    for format, config in (
        ("jsonl", ExportConfig(gates={"twin": "exclude"}, forms=ALL)),
        ("parquet", ExportConfig(tiers=("easy", "medium"), forms=("messages",))),
    ):
        GateCheck.objects.all().delete()
        settings.EXPORT_READERS = 0
        alone = export(run, tmp_path / f"{format}-alone", format=format, config=config)
        assert not beside
        checks = GateCheck.objects.count()
        GateCheck.objects.all().delete()
        settings.EXPORT_READERS = 2
        with Journal(tmp_path / f"{format}.pages", run, page=3) as journal:
            made = export(run, tmp_path / f"{format}-beside", format=format, config=config, pages=journal)
        assert made == alone
        assert content_of(tmp_path / f"{format}-beside") == content_of(tmp_path / f"{format}-alone")
        assert GateCheck.objects.count() == checks
        assert len(beside) == 2
        assert gone(beside)
        beside.clear()
    assert _sessions() == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_what_a_reader_raises_the_builder_raises_and_nothing_is_left(tmp_path, beside):
    run = make_finished_run(8)
    broken = Selection.objects.filter(run=run).order_by("question_id").last()
    PathLabel.objects.filter(path=broken.path).update(label="error")

    with pytest.raises(LedgerBrokenError, match="which is error"):
        export(run, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []
    assert gone(beside)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_builder_that_is_stopped_leaves_no_reader(tmp_path, beside):
    asked = iter([False, True])

    with pytest.raises(ExportStoppedError):
        export(make_finished_run(16), tmp_path / "out", should_stop=lambda: next(asked))

    assert list(tmp_path.iterdir()) == []
    assert gone(beside)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_reader_that_is_killed_fails_the_export_in_words(tmp_path, beside):
    def kill(done: int) -> None:
        os.kill(beside[0], signal.SIGKILL)

    with pytest.raises(ReaderLostError, match="exit code -9"):
        export(make_finished_run(16), tmp_path / "out", progress=kill, limits=Limits(page=1))

    assert gone(beside)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_readers_of_a_builder_that_was_killed_die_with_it(tmp_path):
    """Also while they wait for work: the socket's end is enough where the system does not tell them."""
    run = make_finished_run(4)
    code = f"""
import django; django.setup()
from django.db import connection
connection.settings_dict["NAME"] = {connection.settings_dict["NAME"]!r}
from apps.exports.config import DEFAULT
from apps.exports.making.parts import Order, Place
from apps.exports.making.pool import Readers
with Readers(Order({run.pk}, ("cotmed",), "jsonl", DEFAULT), None, 2) as readers:
    first, last = {min(q.question_id for q in run.questions.all())} - 1, 2**40
    for page in readers.pages(iter([Place(first, last)]), lambda read: __import__("time").sleep(600)):
        pass
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "reasonmed_site.settings"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as builder:
        deadline, children = time.monotonic() + 60, []
        while len(children) < 2 and time.monotonic() < deadline:
            children = psutil.Process(builder.pid).children()
            time.sleep(0.1)
        builder.kill()
    assert len(children) == 2
    assert gone([child.pid for child in children])


@pytest.mark.django_db
def test_pages_between_those_that_a_journal_holds_are_read_and_nothing_twice(tmp_path):
    """Readers side by side: one may have written down a later page when all died."""
    run = make_finished_run(8)
    ids = sorted(q.question_id for q in run.questions.all())
    whole = export(run, tmp_path / "whole", limits=Limits(page=2))
    with Journal(tmp_path / "pages", run, page=2) as journal:
        planned = list(journal.places())
        assert planned == [Place(after, upto) for after, upto in zip((0, *ids[1::2]), ids[1::2], strict=False)]
        with pool.making_of(run, Order(run.pk, VARIANTS, "jsonl", ExportConfig()), journal.path) as making:
            for place in (planned[2], planned[0]):
                making._maker.read(place)

    with Journal(tmp_path / "pages", run, page=2) as journal:
        assert [place.read for place in journal.places()] == [True, False, True, False]
        assert [place[:2] for place in journal.places()] == [place[:2] for place in planned]
        assert export(run, tmp_path / "out", pages=journal, limits=Limits(page=2)) == whole

    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts, texts, st.lists(texts, max_size=4))
def test_lines_put_together_of_parts_are_the_records(stem, cot, response, options):
    import orjson

    benchmark = BenchmarkRow("b", "B", "")
    question = QuestionRow(
        1, "u", "train", False, [{"label": "L", "text": stem}], stem, options, 0, "", "", None, benchmark
    )
    path = PathRow(1, 1, "generated", "g", 1, None, 1, True, "m", None, None, None, "A", "stop", None, cot)
    said = ResponseRow(1, 1, "A", response, None, None)
    asked, kept = _asked(question), _kept(path, said)
    maker = SetMaker(Order(1, VARIANTS, "jsonl", ExportConfig()), 0, wanted=True)
    maker.begin(asked)
    try:
        expected = make_records(VARIANTS, question=question, cot=cot, response=response)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            maker.add(asked, kept)
        return

    assert maker.add(asked, kept) == expected[0]

    assert [lines.data for lines in maker.finish()[:3]] == [orjson.dumps(record) + b"\n" for record in expected]
    assert maker.content().hex() == content_hash(question, cot=cot, response=response)


def test_the_digest_of_a_content_is_that_which_people_accept():
    question = type("Q", (), {"contexts": [], "stem": "Ä\x00\x7f\u2028\ud7ff", "options": ['\t"\\/']})()
    import orjson

    from apps.questions.text import join_question

    parts = (
        orjson.dumps(join_question([], question.stem, question.options)),
        orjson.dumps("a\n"),
        orjson.dumps("€\x1f"),
    )
    assert content_digest(*parts).hex() == content_hash(question, cot="a\n", response="€\x1f")


def _asked(question):
    from apps.exports.lineage import Asked
    from apps.exports.rows import RunQuestionRow

    return Asked(RunQuestionRow(1, 1, "ready", "", "easy", 0, False, 1, 1), question)


def _kept(path, response):
    from apps.exports.lineage import Kept

    return Kept(1, "", path, None, response, None, None)


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> 0")
        return int(cursor.fetchone()[0])
