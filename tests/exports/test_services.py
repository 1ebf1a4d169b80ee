"""Ordering and building: one builder an export, whatever dies."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection

from apps.exports import services
from apps.exports.errors import ExportRefusedError
from apps.exports.models import ExportState, Snapshot
from apps.exports.services import build_queued_exports, create_export, folder_of
from apps.reasoning.models import PathLabel
from tests.factories import make_finished_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    return settings.EXPORT_DIR


def order(run, variants=("cotmed",), format="jsonl") -> Snapshot:
    return create_export(run=run, variants=variants, format=format)


def test_an_ordered_export_is_built_with_all_it_says():
    run = make_finished_run(4)
    made = order(run, ["all"], "parquet")
    assert made.state == ExportState.QUEUED

    assert build_queued_exports() == 1

    made.refresh_from_db()
    assert (made.state, made.error, made.simulated) == (ExportState.DONE, "", True)
    assert made.records == made.manifest["records"] > 0
    assert (made.questions, made.done_questions) == (4, 4)
    assert {f["path"] for f in made.manifest["files"]} < {p.name for p in folder_of(made).iterdir()}
    assert made.finished_at >= made.created_at
    assert build_queued_exports() == 0


def test_exports_of_a_run_are_numbered():
    run, other = make_finished_run(1), make_finished_run(1)

    assert [order(r).number for r in (run, run, other)] == [1, 2, 1]


@pytest.mark.parametrize(("variants", "format"), [([], "jsonl"), (["gold"], "jsonl"), (["cotmed"], "xlsx")])
def test_an_order_that_makes_no_sense_is_refused(variants, format):
    run = make_finished_run(1)

    with pytest.raises(ExportRefusedError, match="hoose"):
        order(run, variants, format)

    assert not Snapshot.objects.exists()


def test_a_broken_ledger_fails_the_export_with_the_reason(export_dir):
    run = make_finished_run(1)
    PathLabel.objects.filter(run=run).update(label="error")
    made, sound = order(run), order(make_finished_run(1))

    assert build_queued_exports() == 2

    made.refresh_from_db()
    sound.refresh_from_db()
    assert (made.state, sound.state) == (ExportState.FAILED, ExportState.DONE)
    assert "which is error" in made.error
    assert [p.name for p in export_dir.iterdir()] == [str(sound.pk)]


def test_one_asked_to_stop_goes_back_to_the_queue_with_its_journal(export_dir):
    made = order(make_finished_run(2))
    answers = iter([False, True, True])

    assert build_queued_exports(should_stop=lambda: next(answers)) == 0

    made.refresh_from_db()
    assert (made.state, made.attempts) == (ExportState.QUEUED, 0)
    assert list(export_dir.iterdir()) == [services.journal_of(made)]


def test_one_whose_builder_died_is_built_by_the_next():
    made = order(make_finished_run(3))
    Snapshot.objects.filter(pk=made.pk).update(state=ExportState.BUILDING, attempts=1, done_questions=3)

    assert build_queued_exports() == 1

    made.refresh_from_db()
    assert (made.state, made.attempts, made.done_questions) == (ExportState.DONE, 2, 3)


def test_one_that_kills_every_builder_is_given_up():
    made = order(make_finished_run(1))
    Snapshot.objects.filter(pk=made.pk).update(state=ExportState.BUILDING, attempts=services.MAX_ATTEMPTS)

    placed = services.folder_of(made) / str(made.pk)
    placed.mkdir(parents=True)

    build_queued_exports()

    made.refresh_from_db()
    assert made.state == ExportState.FAILED
    assert "ended 3 times" in made.error
    assert list(placed.parent.iterdir()) == []


def test_a_lost_database_leaves_the_export_to_the_next_builder(monkeypatch):
    made = order(make_finished_run(1))

    def lose(**kwargs):
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(services, "build_export", lose)
        with pytest.raises(OperationalError):
            build_queued_exports()

    assert build_queued_exports() == 1
    made.refresh_from_db()
    assert made.state == ExportState.DONE


@pytest.mark.django_db(transaction=True)
def test_two_builders_never_take_the_same_export(monkeypatch):
    """The second one finds nothing while the first is at work, and the first's reads see one moment a page."""
    made = order(make_finished_run(2))
    inside, go_on = threading.Event(), threading.Event()
    build = services.build_export
    taken = []

    def slow(**kwargs):
        taken.append(kwargs["out_dir"])
        inside.set()
        assert go_on.wait(20)
        return build(**kwargs)

    monkeypatch.setattr(services, "build_export", slow)

    def first_builder():
        try:
            build_queued_exports()
        finally:
            connection.close()

    first = threading.Thread(target=first_builder)
    first.start()
    try:
        assert inside.wait(20)
        assert build_queued_exports() == 0
    finally:
        go_on.set()
        first.join()

    made.refresh_from_db()
    assert (made.state, made.attempts) == (ExportState.DONE, 1)
    assert len(taken) == 1
