"""A builder that dies loses no reading, and the next one makes the same bytes; a ledger that changed meanwhile is not mixed in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from apps.exports import services
from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig
from apps.exports.errors import ExportStoppedError
from apps.exports.holding import Holding
from apps.exports.journal import Journal, PageFile
from apps.exports.lineage import read_pages
from apps.exports.making.parts import Place
from apps.exports.models import ExportState, Snapshot, SnapshotOmission, SnapshotRecord
from apps.exports.services import build_queued_exports, create_export, folder_of, journal_of
from apps.exports.sieves import NOT_CHOSEN_TIER
from apps.reasoning.models import ReasoningPath, Response, Run, RunQuestion, Selection
from apps.review.records.content import content_hash
from tests.factories import make_finished_run, make_question, make_run_question

pytestmark = pytest.mark.django_db
PAGE = 2


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"


@pytest.fixture
def reads(monkeypatch):
    """The first question of each page that was read in the ledger, in order."""
    from apps.exports import lineage
    from apps.exports.making import maker

    found: list[int] = []

    def counted(run, *, after, upto):
        page = lineage.read_page(run, after=after, upto=upto)
        found.append(page[0].row.question_id)
        return page

    monkeypatch.setattr(maker, "read_page", counted)
    return found


def journal_for(run: Run, path: Path) -> Journal:
    return Journal(path, run, page=PAGE)


def export(run: Run, out: Path, journal: Journal | None = None, **kwargs):
    limits = Limits(page=PAGE, shard_bytes=400)
    kwargs = {"variants": ("reasonmed", "cotmed"), "format": "jsonl"} | kwargs
    return build_export(run=run, out_dir=out, pages=journal, limits=limits, **kwargs)


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def read_part(run: Run, path: Path, pages: int) -> None:
    """What a builder leaves that dies after so many pages."""
    asked = iter([False] * (pages - 1) + [True])
    with journal_for(run, path) as journal, pytest.raises(ExportStoppedError):
        export(run, path.with_name("never"), journal, should_stop=lambda: next(asked))


def change(question_id: int) -> None:
    """As every write of a person or a worker does: its version rises."""
    RunQuestion.objects.filter(question_id=question_id).update(version=F("version") + 1)


@pytest.mark.parametrize("format", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_what_was_read_is_not_read_again_and_the_bytes_are_the_same(tmp_path, reads, format):
    run = make_finished_run(8)
    whole = export(run, tmp_path / "whole", format=format)
    read_part(run, tmp_path / "pages", 3)
    reads.clear()

    with journal_for(run, tmp_path / "pages") as journal:
        assert journal.found == 3
        resumed = export(run, tmp_path / "resumed", journal, format=format)

    assert len(reads) == 1  # of four pages
    assert resumed == whole
    assert content_of(tmp_path / "resumed") == content_of(tmp_path / "whole")


def test_a_journal_that_holds_all_is_enough(tmp_path, reads):
    run = make_finished_run(4)
    with journal_for(run, tmp_path / "pages") as journal:
        export(run, tmp_path / "a", journal)
    reads.clear()

    with journal_for(run, tmp_path / "pages") as journal:
        export(run, tmp_path / "b", journal)

    assert reads == []
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_page_cut_off_is_read_again(tmp_path, reads, cut):
    run = make_finished_run(6)
    whole = export(run, tmp_path / "whole")
    read_part(run, tmp_path / "pages", 2)
    data = (tmp_path / "pages").read_bytes()
    (tmp_path / "pages").write_bytes(data[:-cut])
    reads.clear()

    with journal_for(run, tmp_path / "pages") as journal:
        assert journal.found == 1
        assert export(run, tmp_path / "resumed", journal) == whole

    assert len(reads) == 2


@pytest.mark.parametrize("place", ["page", "bounds", "length", "hash"])
def test_a_page_that_is_not_ours_is_never_unpacked(tmp_path, place, monkeypatch):
    run = make_finished_run(4)
    read_part(run, tmp_path / "pages", 2)
    data = bytearray((tmp_path / "pages").read_bytes())
    start = data.index(b"\n") + 1
    data[{"page": start + 60, "bounds": start + 15, "length": start + 23, "hash": start + 28}[place]] ^= 1
    (tmp_path / "pages").write_bytes(data)

    with journal_for(run, tmp_path / "pages") as journal:
        assert journal.found == 0


@pytest.mark.parametrize("what", ["code", "page", "run", "secret"])
def test_a_journal_of_something_else_is_begun_anew(tmp_path, what, monkeypatch, settings):
    run = make_finished_run(4)
    read_part(run, tmp_path / "pages", 1)
    if what == "code":
        monkeypatch.setattr("apps.exports.journal.code_version", lambda: "another")
    elif what == "run":
        run = make_finished_run(4)
    elif what == "secret":
        settings.SECRET_KEY = "another"

    with Journal(tmp_path / "pages", run, page=3 if what == "page" else PAGE) as journal:
        assert journal.found == 0
        assert [place.read for place in journal.places()] == [False, False]


def test_questions_that_changed_since_are_read_again_and_the_others_are_not(tmp_path, reads):
    run = make_finished_run(8)
    read_part(run, tmp_path / "pages", 4)
    changed = Selection.objects.filter(run=run).order_by("question_id").first()
    Response.objects.filter(path=changed.path).update(text="Rewritten.\n\nAnswer: D. Replace potassium")
    change(changed.question_id)
    whole = export(run, tmp_path / "whole")
    reads.clear()

    with journal_for(run, tmp_path / "pages") as journal:
        resumed = export(run, tmp_path / "resumed", journal)

    assert reads == [changed.question_id]
    assert (resumed, resumed["changed_while_read"]) == (whole, 0)
    assert content_of(tmp_path / "resumed") == content_of(tmp_path / "whole")
    assert "Rewritten." in (tmp_path / "resumed" / "reasonmed.jsonl").read_text()


def test_a_ledger_that_never_rests_is_told_in_the_manifest(tmp_path):
    run = make_finished_run(6)
    first, last = run.questions.order_by("question_id")[0], run.questions.order_by("question_id")[5]

    def changing(done: int) -> None:
        if done == 6:
            change(first.question_id)
            change(last.question_id)

    with journal_for(run, tmp_path / "pages") as journal:
        manifest = export(run, tmp_path / "out", journal, progress=changing)

    assert manifest["changed_while_read"] == 2
    assert any("2 questions changed after they were read" in w for w in manifest["warnings"])
    assert "2 questions changed" in (tmp_path / "out" / "README.md").read_text()


def test_one_made_straight_from_the_ledger_tells_too(tmp_path):
    run = make_finished_run(4)
    first = run.questions.order_by("question_id")[0]

    manifest = export(run, tmp_path / "out", progress=lambda done: change(first.question_id) if done == 4 else None)

    assert manifest["changed_while_read"] == 1


def test_an_export_that_was_stopped_goes_on(reads, monkeypatch):
    monkeypatch.setattr(services, "Journal", lambda path, run: Journal(path, run, page=PAGE))
    run = make_finished_run(8)
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    asked = iter([False, False, False, True, True])
    build_queued_exports(should_stop=lambda: next(asked))
    made.refresh_from_db()
    assert (made.state, journal_of(made).exists()) == (ExportState.QUEUED, True)
    assert len(reads) == 3

    build_queued_exports()

    made.refresh_from_db()
    assert (made.state, made.attempts, journal_of(made).exists()) == (ExportState.DONE, 1, False)
    assert len(reads) == len(set(reads)) == 4
    assert made.held.count() == made.records


def test_a_builder_that_gets_further_than_those_before_is_not_one_more_that_died():
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    Snapshot.objects.filter(pk=made.pk).update(state=ExportState.BUILDING, attempts=2, done_questions=1)

    build_queued_exports()

    made.refresh_from_db()
    assert (made.state, made.attempts) == (ExportState.DONE, 1)


def test_every_record_is_written_down_with_what_it_was_made_from():
    run = make_finished_run(5)
    waiting = make_run_question(run, make_question(), state="waiting", reason="disputed")
    made = create_export(
        run=run, variants=["cotmed"], format="jsonl", config=ExportConfig(tiers=("medium", "difficult"))
    )
    build_queued_exports()
    made.refresh_from_db()

    trail = [json.loads(line) for line in (folder_of(made) / "provenance.jsonl").read_text().splitlines()]
    held = list(made.held.select_related("question", "path", "response").order_by("number"))
    assert [(h.number, h.question.uid, h.slot, h.path_id, h.response_id, h.tier, h.errors) for h in held] == [
        (t["record"], t["question"], t["slot"], t["path"]["id"], t["response"]["id"], t["tier"], t["errors"])
        for t in trail
    ]
    assert [bytes(h.content).hex() for h in held] == [
        content_hash(h.question, cot=h.path.text, response=h.response.text) for h in held
    ]
    left_out = set(made.left_out.values_list("question_id", "slot", "state", "reason"))
    easy = set(run.questions.filter(tier="easy").values_list("question_id", flat=True))
    assert left_out == {(pk, 0, "excluded", NOT_CHOSEN_TIER) for pk in easy} | {
        (waiting.question_id, 0, "waiting", "disputed")
    }


def test_rows_of_an_earlier_builder_are_replaced(monkeypatch):
    monkeypatch.setattr("apps.exports.holding.ROWS", 1)
    run = make_finished_run(3)
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    stop, limits = iter([False, True]), Limits(page=1)
    order = {"run": run, "variants": ("cotmed",), "format": "jsonl", "out_dir": folder_of(made) / "x"}
    with pytest.raises(ExportStoppedError):
        build_export(**order, holding=Holding(made.pk), should_stop=lambda: next(stop), limits=limits)
    assert SnapshotRecord.objects.count() > 0

    with CaptureQueriesContext(connection) as asked:
        build_queued_exports()

    assert not [q["sql"] for q in asked if "exports_snapshotrecord" in q["sql"] and q["sql"].startswith("SELECT")]
    made.refresh_from_db()
    assert SnapshotRecord.objects.count() == made.records
    assert list(made.held.order_by("number").values_list("number", flat=True)) == list(range(made.records))
    assert not SnapshotOmission.objects.exists()


def test_a_page_comes_back_from_the_journal_as_it_was_read(tmp_path):
    run = make_finished_run(8)
    path = Selection.objects.filter(run=run, current=True).first().path
    replaced = dict.fromkeys(("run_id", "question_id", "origin", "generator", "sample", "parent_id"))
    replaced = {name: getattr(path, name) for name in replaced}
    ReasoningPath.objects.filter(pk=path.pk).update(revision=2)
    ReasoningPath.objects.create(**replaced, revision=1, current=False, text="Earlier.")
    [page] = read_pages(run, page=50)
    assert any(len(kept.chain) > 1 for asked in page for kept in asked.kept)

    file = PageFile(tmp_path / "pages")
    assert file.load(file.append(Place(0, 2**40), page)) == page
    file.close()


@pytest.mark.parametrize("what", ["nothing", "version", "gone"])
def test_what_moved_is_told_by_version_also_where_the_run_holds_other_questions_now(tmp_path, what):
    run = make_finished_run(5)
    first, second = run.questions.order_by("question_id").values_list("question_id", flat=True)[:2]
    with journal_for(run, tmp_path / "pages") as journal:
        export(run, tmp_path / "out", journal)
        assert journal.moved() == 0
        if what != "nothing":
            change(second)
        if what == "gone":
            RunQuestion.objects.filter(run=run, question_id=first).delete()

        assert journal.moved() == {"nothing": 0, "version": 1, "gone": 2}[what]
