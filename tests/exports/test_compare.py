"""Two snapshots compared: what was added, removed and changed, and why; pages, API, and what it costs."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.db.models import F
from django.urls import reverse

from apps.exports import comparing
from apps.exports.comparing import comparable, differences, summarise
from apps.exports.config import ExportConfig
from apps.exports.models import Snapshot, SnapshotRecord
from apps.exports.services import build_queued_exports, create_export
from apps.questions.models import Question
from apps.reasoning.models import PathLabel, ReasoningPath, Response, Run, RunQuestion, Selection
from tests.factories import make_finished_run, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    cache.clear()


@pytest.fixture
def run() -> Run:
    return make_finished_run(8)


def snapshot(run: Run, **config) -> Snapshot:
    made = create_export(run=run, variants=["cotmed"], format="jsonl", config=ExportConfig(**config))
    build_queued_exports()
    made.refresh_from_db()
    assert made.candidate
    return made


def kept(run: Run, origin: str = "generated") -> Selection:
    return Selection.objects.filter(run=run, current=True, path__origin=origin).order_by("question_id", "slot")[0]


def response_rewritten(run: Run) -> Selection:
    one = kept(run)
    old = Response.objects.get(run=run, path=one.path, current=True)
    Response.objects.filter(pk=old.pk).update(current=False)
    Response.objects.create(run=run, path=one.path, revision=2, text=f"In short: {old.text}", answer=old.answer)
    return one


def rewritten_again(run: Run) -> Selection:
    one = kept(run, "refined")
    path, old = one.path, Response.objects.get(run=run, path=one.path, current=True)
    ReasoningPath.objects.filter(pk=path.pk).update(current=False)
    again = ReasoningPath.objects.get(pk=path.pk)
    again.pk, again.revision, again.current, again.text = None, 2, True, f"Once more. {path.text}"
    again.save(force_insert=True)
    PathLabel.objects.create(
        run=run, path=again, question=one.question, label="correct", source="judge", judge_label="correct"
    )
    Response.objects.create(run=run, path=again, text=old.text, answer=old.answer)
    Selection.objects.filter(pk=one.pk).update(path=again)
    return one


def label_overridden(run: Run) -> Selection:
    """Another path is kept, since a person called the first one an Error."""
    one = kept(run)
    taken = Selection.objects.filter(run=run, question=one.question).values("path")
    other = ReasoningPath.objects.filter(run=run, question=one.question, labels__label="correct").exclude(pk__in=taken)[
        0
    ]
    Response.objects.create(run=run, path=other, text="Another way.", answer=one.question.key_letter)
    Selection.objects.filter(pk=one.pk).update(path=other, source=other)
    RunQuestion.objects.filter(run=run, question=one.question).update(error_count=F("error_count") + 1, overridden=True)
    return one


def tier_changed(run: Run) -> Selection:
    one = rewritten_again(run)
    RunQuestion.objects.filter(run=run, question=one.question).update(tier="difficult", error_count=9)
    return one


def question_corrected(run: Run) -> Selection:
    one = kept(run)
    Question.objects.filter(pk=one.question_id).update(stem=f"{one.question.stem} (corrected)")
    Selection.objects.filter(run=run, question=one.question).exclude(pk=one.pk).update(current=False)
    RunQuestion.objects.filter(run=run, question=one.question).update(records=1)
    return one


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (response_rewritten, "response"),
        (rewritten_again, "path"),
        (label_overridden, "label"),
        (tier_changed, "tier"),
        (question_corrected, "question"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_record_that_changed_says_why(run, change, why):
    before = snapshot(run)
    one = change(run)
    after = snapshot(run)

    found = [d for d in differences(before, after).rows if d.kind == "changed"]

    assert [(d.uid, d.slot, d.why) for d in found] == [(one.question.uid, one.slot, why)]
    summary = summarise(before, after)
    assert summary.kinds["changed"] == 1
    assert summary.before - summary.kinds["removed"] - 1 == summary.same
    assert summary.same + 1 + summary.kinds["added"] == summary.after


def test_what_is_gone_and_what_came_say_why(run):
    before = snapshot(run, tiers=("easy", "medium"))
    gone = run.questions.filter(tier="easy").order_by("question_id")[0]
    RunQuestion.objects.filter(pk=gone.pk).update(state="waiting", reason="disputed")
    fewer = kept(run, "refined")
    Selection.objects.filter(run=run, question=fewer.question).exclude(pk=fewer.pk).update(current=False)
    RunQuestion.objects.filter(run=run, question=fewer.question).update(records=1)
    after = snapshot(run)

    found = {(d.kind, d.why, d.uid): d for d in differences(before, after).rows}

    difficult = {q.question.uid for q in run.questions.filter(tier="difficult").select_related("question")}
    assert {key[2] for key in found if key[:2] == ("added", "left_out")} == difficult
    assert {key[2] for key in found if key[:2] == ("removed", "left_out")} == {gone.question.uid}
    assert {key[2] for key in found if key[:2] == ("removed", "records")} == {fewer.question.uid}
    assert {key[:2] for key in found} == {("added", "left_out"), ("removed", "left_out"), ("removed", "records")}
    removed = found["removed", "left_out", gone.question.uid]
    assert (removed.before.number is not None, removed.after.number) == (True, None)
    assert (removed.after.state, removed.after.reason) == ("waiting", "disputed")
    summary = summarise(before, after)
    assert summary.before - summary.kinds["removed"] + summary.kinds["added"] == summary.after


def test_snapshots_of_two_runs_share_nothing(run):
    other = make_finished_run(3)

    summary = summarise(snapshot(run), snapshot(other))

    assert summary.same == 0
    assert dict(summary.whys) == {("removed", "run"): summary.before, ("added", "run"): summary.after}


def test_the_same_ledger_twice_is_the_same(run):
    summary = summarise(snapshot(run), snapshot(run))

    assert (summary.same, dict(summary.kinds)) == (summary.before, {})
    assert not differences(*Snapshot.objects.order_by("number")).rows


def test_pages_go_through_all_of_them_once(run, monkeypatch):
    before, after = snapshot(run, tiers=("easy",)), snapshot(run, tiers=("medium", "difficult"))
    whole = differences(before, after, limit=200).rows
    seen, cursor = [], ""

    while cursor is not None:
        page = differences(before, after, limit=2, cursor=cursor)
        seen += page.rows
        cursor = page.after

    assert seen == whole
    assert len(whole) == before.records + after.records
    only = differences(before, after, kind="added", limit=200).rows
    assert only == [d for d in whole if d.kind == "added"]
    assert differences(before, after, cursor="x.y", limit=200).rows == whole
    monkeypatch.setattr(comparing, "FEW", 1)
    assert differences(before, after, limit=200).rows == whole


def test_what_cannot_be_compared_says_so(run):
    made, waiting = snapshot(run), create_export(run=run, variants=["cotmed"], format="jsonl")
    old = snapshot(run)
    SnapshotRecord.objects.filter(snapshot=old).delete()

    assert "different" in comparable(made, made)
    assert "not done" in comparable(made, waiting)
    assert "export it again" in comparable(old, made)


def test_the_page_offers_the_two_newest_and_filters(client, run):
    snapshot(run)
    response_rewritten(run)
    snapshot(run, tiers=("easy", "medium"))
    client.force_login(make_user("consumer"))
    address = reverse("export_compare")

    page = client.get(address)
    text = page.content.decode()

    assert (str(page.context["a"]), str(page.context["b"])) == (f"{run.name}.1", f"{run.name}.2")
    assert "the response was written again" in text
    assert "tier not chosen" in text
    only = client.get(address, {"a": f"{run.name}.1", "b": f"{run.name}.2", "kind": "changed"})
    assert {d.kind for d in only.context["page"].rows} == {"changed"}
    assert client.get(address, {"a": "nobody.1", "b": f"{run.name}.2"}).status_code == 200
    assert (
        "Choose two different ones"
        in client.get(address, {"a": f"{run.name}.1", "b": f"{run.name}.1"}).content.decode()
    )


def test_with_one_or_none_there_is_nothing_to_compare(client, run):
    client.force_login(make_user("consumer"))

    assert "Nothing to compare yet" in client.get(reverse("export_compare")).content.decode()


def test_the_page_takes_as_many_queries_for_many_differences_as_for_one(client, run, django_assert_max_num_queries):
    snapshot(run)
    response_rewritten(run)
    snapshot(run)
    snapshot(make_finished_run(8))
    client.force_login(make_user("consumer"))

    for number in ("1", "2"):
        before, after = (
            (f"{run.name}.1", f"{run.name}.2")
            if number == "1"
            else (f"{run.name}.1", str(Snapshot.objects.order_by("-created_at")[0]))
        )
        with django_assert_max_num_queries(18):
            assert client.get(reverse("export_compare"), {"a": before, "b": after}).context["page"].rows


def test_the_api_says_the_same(client, run):
    snapshot(run)
    one = response_rewritten(run)
    snapshot(run)
    client.force_login(make_user("consumer"))

    found = client.get("/api/v1/exports/compare", {"a": f"{run.name}.1", "b": f"{run.name}.2"}).json()

    assert found["counts"] == [{"kind": "changed", "why": "response", "records": 1}]
    assert found["records_a"] == found["records_b"] == found["same"] + 1
    (item,) = found["items"]
    assert (item["question"], item["slot"], item["why"]) == (one.question.uid, one.slot, "response")
    assert (item["before"]["response_revision"], item["after"]["response_revision"]) == (1, 2)
    assert client.get("/api/v1/exports/compare", {"a": "x.1", "b": f"{run.name}.2"}).status_code == 404
