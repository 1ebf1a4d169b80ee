"""Overrides: what a person says moves the tier at once, keeps both verdicts, and never collides or repeats."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import (
    PathLabel,
    ReasoningPath,
    Response,
    Run,
    RunQuestion,
    Selection,
    Verdict,
)
from apps.reasoning.selectors import run_counters
from apps.reasoning.services import add_counters, assess_questions
from apps.review import services
from apps.review.services import (
    OverrideError,
    OverrideResult,
    VersionConflict,
    confirm_remake,
    override_verdict,
    preview_override,
)
from tests.factories import (
    keep_paths,
    make_judged_question,
    make_project,
    make_question,
    make_run,
    make_user,
    make_verdict,
    money_counts,
)
from tests.reasoning.test_ledger import assess_from_nothing

AXES = {"correct": (True, True, True), "error": (False, True, True)}


@dataclass
class Scene:
    run: Run
    paths: list[ReasoningPath]
    person: User

    @property
    def question(self) -> int:
        return self.paths[0].question_id

    def row(self, run: Run | None = None) -> RunQuestion:
        return RunQuestion.objects.get(run=run or self.run, question=self.question)

    def override(self, place: int = 0, label: str = "error", **changes: Any) -> OverrideResult:
        axes = dict(zip(("correctness", "coherence", "factuality"), AXES.get(label, AXES["error"]), strict=True))
        given: dict[str, Any] = {"run": self.run, "path": self.paths[place], "reviewer": self.person, "label": label}
        return override_verdict(**(given | axes | {"reason": "Insulin at 3.1 is unsafe."} | changes))

    def verdicts(self, place: int = 0) -> list[tuple[str, str, bool]]:
        found = Verdict.objects.filter(path=self.paths[place]).order_by("pk")
        return [(v.source, v.label, v.current) for v in found]


def make_scene(errors: int = 4, *, summaries: bool = True, run: Run | None = None) -> Scene:
    """A question with that many errors; its tier's later outputs are there too, if wanted."""
    run = run or make_run()
    question = make_question()
    paths = make_judged_question(run, question, errors=errors)
    if summaries:
        keep_paths(run, question)
    Selection.objects.filter(run=run, question=question).delete()
    PathLabel.objects.filter(run=run, question=question).delete()
    add_counters(
        run_id=run.pk,
        change={
            "questions": 1,
            "calls": run.calls.filter(question=question).count(),
            **money_counts(run.calls.filter(question=question)),
            **{
                f"paths:{p.origin}": run.paths.filter(question=question, origin=p.origin).count()
                for p in run.paths.all()
            },
        },
    )
    assess_from_nothing(run)
    return Scene(run, paths, make_user())


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[int, list[str]]]]:
    """What was asked of the pipeline: (run, {question: stages})."""
    asked: list[tuple[int, dict[int, list[str]]]] = []

    def want_work(*, run: Run, found: Any) -> None:
        asked.append((run.pk, {pk: [i.stage for i in a.items] for pk, a in found.items()}))

    monkeypatch.setattr(services, "want_work", want_work)
    return asked


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene(4)


def test_from_four_to_five_errors_moves_easy_to_medium_at_once(scene: Scene) -> None:
    assert (scene.row().tier, scene.row().state, scene.row().records) == ("easy", "ready", 2)
    result = scene.override(2)
    row = scene.row()
    assert (row.tier, row.error_count, row.overridden) == ("medium", 5, True)
    assert scene.verdicts(2) == [("judge", "correct", True), ("person", "error", True)]
    assert result.row.tier == "medium"
    counters = run_counters(scene.run)
    assert (counters["tier:medium"], counters["errors:5"], counters["overridden"]) == (1, 1, 1)
    assert "tier:easy" not in counters
    assert check_run(scene.run) == []


def test_from_five_to_four_errors_moves_medium_to_easy(db: None) -> None:
    scene = make_scene(5)
    wrong = scene.paths[8]
    ReasoningPath.objects.filter(pk=wrong.pk).update(answer="")
    result = scene.override(8, "correct", path=wrong)
    assert (scene.row().tier, scene.row().error_count) == ("easy", 4)
    assert result.summary.startswith("5 → 4 errors: medium → easy; 2 records change")
    assert check_run(scene.run) == []


def test_the_preview_says_what_saving_does_and_writes_nothing(scene: Scene) -> None:
    before = (scene.row(), Verdict.objects.count(), run_counters(scene.run))
    said = preview_override(run=scene.run, path=scene.paths[2], reviewer=scene.person, label="error")
    assert (scene.row(), Verdict.objects.count(), run_counters(scene.run)) == before
    assert scene.row().version == before[0].version
    assert (said.errors_before, said.errors_after, said.tier_before, said.tier_after) == (4, 5, "easy", "medium")
    assert (said.records_before, said.records_after, said.records_changed) == (2, 0, 2)
    assert (said.remade, said.hold) == ({"refine": 2}, True)
    assert said.summary == (
        "4 → 5 errors: easy → medium; 2 records change; to be made: 2 × refine, once someone confirms"
    )
    saved = scene.override(2)
    assert saved.consequences == said
    row = scene.row()
    assert (row.state, row.reason, row.records) == (said.state_after, said.reason_after, said.records_after)


def test_an_override_that_changes_no_tier_says_so(db: None) -> None:
    scene = make_scene(2)
    kept = Selection.objects.filter(run=scene.run, current=True).values_list("path", flat=True)
    spare = next(p for p in scene.paths[:7] if p.pk not in kept)
    said = preview_override(run=scene.run, path=spare, reviewer=scene.person, label="error")
    assert said.summary.startswith("2 → 3 errors: stays easy; no record changes")
    assert (said.remade, said.hold) == ({}, False)


def test_a_kept_path_called_an_error_gives_its_place_to_the_next(db: None) -> None:
    scene = make_scene(2)
    kept = Selection.objects.filter(run=scene.run, current=True).order_by("slot")[0]
    place = next(n for n, p in enumerate(scene.paths) if p.pk == kept.path_id)
    result = scene.override(place)
    assert result.consequences is not None
    assert (result.consequences.records_changed, result.consequences.remade) == (1, {"summarise": 1})
    assert kept.path_id not in Selection.objects.filter(run=scene.run, current=True).values_list("path_id", flat=True)
    assert Selection.objects.filter(pk=kept.pk, current=False).exists()


def test_stale_outputs_wait_until_someone_confirms(scene: Scene, wanted: list[Any]) -> None:
    scene.override(2)
    row = scene.row()
    assert (row.hold, row.state, row.reason, row.records) == (True, "waiting", "stale", 0)
    assert wanted == [(scene.run.pk, {scene.question: []})]
    assert Response.objects.filter(run=scene.run).count() == 2

    assert confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person) == 1
    row = scene.row()
    assert (row.hold, row.state, row.reason) == (False, "waiting", "refine")
    assert wanted[1:] == [(scene.run.pk, {scene.question: ["refine", "refine"]})]
    assert check_run(scene.run) == []
    assert confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person) == 0
    assert len(wanted) == 2


def test_taking_an_override_back_lifts_the_hold(scene: Scene) -> None:
    scene.override(2)
    scene.override(2, "correct")
    row = scene.row()
    assert (row.hold, row.state, row.tier, row.records) == (False, "ready", "easy", 2)
    assert check_run(scene.run) == []


def test_without_outputs_the_work_goes_on_at_once(db: None, wanted: list[Any]) -> None:
    scene = make_scene(8, summaries=False)
    wrong = scene.paths[8]
    ReasoningPath.objects.filter(pk=wrong.pk).update(answer="")
    scene.override(8, "correct", path=wrong)
    assert (scene.row().hold, scene.row().tier) == (False, "medium")
    assert wanted[-1] == (scene.run.pk, {scene.question: ["refine", "refine"]})


def test_a_second_verdict_of_the_same_person_replaces_the_first(scene: Scene) -> None:
    first = scene.override(2).verdict
    second = scene.override(2, "correct").verdict
    assert scene.verdicts(2)[1:] == [("person", "error", False), ("person", "correct", True)]
    assert second.replaces_id == first.pk
    assert scene.row().error_count == 4


def test_another_persons_verdict_stands_beside_the_first(scene: Scene) -> None:
    scene.override(2)
    later = scene.override(2, "correct", reviewer=make_user())
    assert later.verdict.replaces is None
    assert [current for _, _, current in scene.verdicts(2)] == [True, True, True]
    assert scene.row().error_count == 4  # label policy `single`: the latest


def test_two_who_must_agree_make_the_path_disputed_when_they_do_not(db: None) -> None:
    scene = make_scene(4, run=make_run(config={"label_policy": "two"}))
    scene.override(2)
    assert (scene.row().tier, scene.row().disputed) == ("easy", False)
    said = scene.override(2, "correct", reviewer=make_user())
    row = scene.row()
    assert (row.tier, row.disputed, row.state, row.reason) == ("easy", True, "waiting", "disputed")
    assert "disagree" in said.summary
    assert check_run(scene.run) == []


def test_the_same_request_again_writes_nothing(scene: Scene, wanted: list[Any]) -> None:
    key = uuid.uuid4()
    first = scene.override(2, idempotency_key=key, expected_version=scene.row().version)
    version, calls = scene.row().version, len(wanted)
    again = scene.override(2, idempotency_key=str(key), expected_version=version - 1)
    assert (again.verdict, again.replayed, again.summary) == (first.verdict, True, first.summary)
    assert not first.replayed
    assert (scene.row().version, len(wanted)) == (version, calls)
    assert Verdict.objects.filter(reviewer=scene.person).count() == 1


def test_a_key_cannot_be_used_for_another_judgment(scene: Scene) -> None:
    key = uuid.uuid4()
    scene.override(2, idempotency_key=key)
    other = make_scene(4, run=scene.run)
    for attempt in (lambda: scene.override(3, idempotency_key=key), lambda: other.override(2, idempotency_key=key)):
        with pytest.raises(OverrideError, match="another judgment"):
            attempt()
    assert Verdict.objects.filter(idempotency_key=key).count() == 1
    with pytest.raises(OverrideError, match="UUID"):
        scene.override(3, idempotency_key="not-a-uuid")


def test_a_stale_version_is_refused_with_the_state_as_it_is(scene: Scene) -> None:
    seen = scene.row().version
    scene.override(2, expected_version=seen)
    with pytest.raises(VersionConflict) as refused:
        scene.override(3, reviewer=make_user(), expected_version=seen)
    assert (refused.value.current.tier, refused.value.current.error_count) == ("medium", 5)
    assert refused.value.current.version == scene.row().version > seen
    assert len(scene.verdicts(3)) == 1


def test_the_version_rises_even_if_the_row_stays_as_it_was(scene: Scene) -> None:
    scene.override(2)
    seen = scene.row().version
    scene.override(2)
    with pytest.raises(VersionConflict):
        scene.override(2, expected_version=seen)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": "  "}, "reason"),
        ({"label": "correct", "correctness": False}, "label"),
        ({"correctness": True}, "correctness"),
        ({"factuality": None}, "factuality"),
        ({"label": "unjudged"}, "label"),
        ({"label": ""}, "label"),
    ],
)
def test_a_verdict_that_cannot_stand_is_refused_in_words(scene: Scene, changes: dict[str, Any], field: str) -> None:
    before = scene.row().version
    with pytest.raises(OverrideError) as refused:
        scene.override(2, **changes)
    assert refused.value.field == field
    assert (scene.row().version, Verdict.objects.filter(reviewer=scene.person).count()) == (before, 0)


def test_a_path_of_another_run_or_a_replaced_one_is_refused(scene: Scene) -> None:
    stranger = make_scene(4)
    with pytest.raises(OverrideError, match="does not belong"):
        scene.override(path=stranger.paths[0])
    ReasoningPath.objects.filter(pk=scene.paths[0].pk).update(current=False)
    scene.paths[0].refresh_from_db()
    with pytest.raises(OverrideError, match="replaced"):
        scene.override(0)


def test_every_run_of_the_project_that_uses_the_path_follows(scene: Scene, wanted: list[Any]) -> None:
    other, foreign = make_run(paths_from=scene.run), make_run(paths_from=scene.run, project=make_project("elsewhere"))
    for run in (other, foreign):
        RunQuestion.objects.create(run=run, question_id=scene.question, benchmark=scene.row().benchmark)
        add_counters(run_id=run.pk, change={"questions": 1})
        for number, path in enumerate(scene.paths):
            make_verdict(path, run=run, label="correct" if number in (2, 8) else "error")
        assess_from_nothing(run)
    result = scene.override(2, "error")
    assert result.consequences is not None
    assert [c.run_id for c in result.consequences.others] == [other.pk]
    assert f"in run {other.name}" in result.summary
    assert PathLabel.objects.get(run=other, path=scene.paths[2]).overridden
    assert not PathLabel.objects.get(run=foreign, path=scene.paths[2]).overridden
    assert [run for run, _ in wanted] == [scene.run.pk, other.pk]
    assert [check_run(run) for run in (scene.run, other, foreign)] == [[], [], []]


def test_a_rewritten_path_is_overridden_in_its_own_run_alone(db: None) -> None:
    scene = make_scene(5)
    refined = ReasoningPath.objects.filter(run=scene.run, origin="refined").first()
    assert refined is not None
    result = scene.override(path=refined)
    assert result.consequences is not None
    assert result.consequences.remade == {"refine": 1}
    assert (scene.row().hold, scene.row().tier, scene.row().error_count) == (True, "medium", 5)
    assert check_run(scene.run) == []


def test_the_verdict_keeps_what_it_changed(scene: Scene) -> None:
    verdict = scene.override(2, details={"sentences": [3]}).verdict
    verdict.refresh_from_db()
    assert verdict.details["sentences"] == [3]
    assert verdict.details["consequences"]["tier_after"] == "medium"


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    return thread, results


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_leave_labels_and_counters_right() -> None:
    scene = make_scene(4)
    people = [make_user(), make_user()]
    together = threading.Barrier(2)

    def judge(place: int, person: User) -> OverrideResult:
        together.wait(10)
        return scene.override(place, reviewer=person)

    threads = [in_thread(lambda p=p, u=u: judge(p, u)) for p, u in zip((2, 3), people, strict=True)]
    for thread, _ in threads:
        thread.join(30)
    assert [type(results[0]) for _, results in threads] == [OverrideResult, OverrideResult]
    assert (scene.row().error_count, scene.row().tier) == (6, "medium")
    counters = run_counters(scene.run)
    assert (counters["errors:6"], counters["tier:medium"], counters["overridden"]) == (1, 1, 1)
    assert sorted(r[0].consequences.errors_after for _, r in threads) == [5, 6]
    assert check_run(scene.run) == []


@pytest.mark.django_db(transaction=True)
def test_one_request_sent_twice_at_once_is_saved_once() -> None:
    scene = make_scene(4)
    key, together = uuid.uuid4(), threading.Barrier(2)

    def judge() -> OverrideResult:
        together.wait(10)
        return scene.override(2, idempotency_key=key)

    threads = [in_thread(judge) for _ in range(2)]
    for thread, _ in threads:
        thread.join(30)
    found = [results[0] for _, results in threads]
    assert sorted(r.replayed for r in found) == [False, True]
    assert len({r.verdict.pk for r in found}) == 1
    assert Verdict.objects.filter(idempotency_key=key).count() == 1
    assert check_run(scene.run) == []


@pytest.mark.django_db(transaction=True)
def test_an_override_waits_for_a_flush_of_the_same_question() -> None:
    """Its consequences are computed from what the flush left, not from what was there before."""
    scene = make_scene(4)
    with transaction.atomic():
        assess_questions(run=scene.run, question_ids=[scene.question])
        thread, results = in_thread(lambda: scene.override(2))
        thread.join(0.3)
        assert thread.is_alive()
        Verdict.objects.filter(path=scene.paths[3], source="judge").update(label="error", correctness=False)
        assess_questions(run=scene.run, question_ids=[scene.question])
    thread.join(30)
    assert results[0].consequences.errors_before == 5
    assert scene.row().error_count == 6
    assert check_run(scene.run) == []
