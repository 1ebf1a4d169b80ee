"""What a question's, path's and record's snapshots say of it, and when that differs from now."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from apps.exports.as_of import snapshots_with
from apps.exports.models import Snapshot
from apps.exports.services import folder_of
from apps.questions.models import Question
from apps.reasoning.models import Run, RunQuestion, Selection
from apps.review.models_records import RecordDecision
from tests.exports.test_compare import (
    kept,
    label_overridden,
    question_corrected,
    response_rewritten,
    rewritten_again,
    snapshot,
    tier_changed,
)
from tests.factories import make_finished_run, make_project, make_question, make_run_question, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"


@pytest.fixture
def run() -> Run:
    return make_finished_run(8)


def excluded(run: Run) -> Selection:
    one = kept(run)
    RecordDecision.objects.create(
        run=run, question=one.question, slot=one.slot, path=one.path, decision="excluded", reason="No.", by=make_user()
    )
    return one


def waits_again(run: Run) -> Selection:
    one = kept(run)
    RunQuestion.objects.filter(run=run, question=one.question).update(state="waiting", reason="disputed")
    return one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (kept, "same"),
        (response_rewritten, "the response was written again"),
        (rewritten_again, "another path is kept now"),
        (label_overridden, "another path is kept now"),
        (tier_changed, "the tier is difficult now"),
        (question_corrected, "the question’s text changed"),
        (excluded, "a person excluded the record since"),
        (waits_again, "the question does not leave now"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_says_how_a_snapshot_stands_to_now(run, change, said):
    snapshot(run)

    one = change(run)

    question = Question.objects.get(pk=one.question_id)
    (found,) = snapshots_with(run.project, run, question)
    held = {h.record.slot: h for h in found.held}
    assert held[one.slot].now.startswith(said)
    assert held[one.slot].record.path_id == one.path_id


def test_a_snapshot_that_left_the_question_out_says_why(client, run):
    waiting = make_run_question(run, make_question(), state="waiting", reason="disputed")
    made = snapshot(run)
    client.force_login(make_user("consumer"))

    page = client.get(reverse("question_snapshots", args=(run.pk, waiting.question.uid))).content.decode()

    assert str(made) in page
    assert "disputed, to adjudicate" in page


def test_a_question_in_no_snapshot_has_a_page_that_says_so(client, run):
    client.force_login(make_user("consumer"))
    question = kept(run).question

    page = client.get(reverse("question_snapshots", args=(run.pk, question.uid))).content.decode()

    assert "In no snapshot yet" in page


def test_a_record_of_a_snapshot_is_shown_as_it_left(client, run):
    made = snapshot(run)
    response_rewritten(run)
    client.force_login(make_user("consumer"))
    lines = [json.loads(line) for line in (folder_of(made) / "cotmed.jsonl").read_text().splitlines()]

    for number, line in enumerate(lines):
        page = client.get(reverse("snapshot_record", args=(made.pk, number)))
        assert page.context["text"] == line
    first = client.get(reverse("snapshot_record", args=(made.pk, 0))).content.decode()
    assert "It differs from now:</b> the response was written again" in first
    assert "The ledger would make the same record today" in page.content.decode()
    assert client.get(reverse("snapshot_record", args=(made.pk, len(lines)))).status_code == 404


def test_one_that_the_ledger_can_no_longer_give_is_not_shown_as_if_it_could(client, run):
    made = snapshot(run)
    one = question_corrected(run)
    number = made.held.get(question=one.question_id, slot=one.slot).number
    client.force_login(make_user("consumer"))

    page = client.get(reverse("snapshot_record", args=(made.pk, number))).content.decode()

    assert "Only in the files" in page
    assert "(corrected)" not in page.split("<main", 1)[1]


@pytest.mark.parametrize(("role", "status"), [(None, 403), ("consumer", 200), ("clinician", 200), ("anonymous", 302)])
def test_who_may_look_at_a_record(client, run, role, status):
    made = snapshot(run)
    if role != "anonymous":
        client.force_login(make_user(role))

    assert client.get(reverse("snapshot_record", args=(made.pk, 0))).status_code == status


def test_what_another_project_has_is_not_there(client, run):
    made = snapshot(run)
    stranger = make_project("other")
    Run.objects.update(project=stranger)
    Snapshot.objects.update(project=stranger)
    client.force_login(make_user("curator"))

    assert client.get(reverse("snapshot_record", args=(made.pk, 0))).status_code == 404
    assert client.get(reverse("question_snapshots", args=(run.pk, kept(run).question.uid))).status_code == 404


def test_ten_snapshots_take_as_many_queries_as_one(client, run, django_assert_max_num_queries):
    client.force_login(make_user("consumer"))
    address = reverse("question_snapshots", args=(run.pk, kept(run).question.uid))
    for number in (1, 3):
        while Snapshot.objects.count() < number:
            snapshot(run)
        with django_assert_max_num_queries(16):
            assert len(client.get(address).context["found"]) == number
