"""Comparing paths: nothing is lost between two texts, reasons are told by their rule, and one claim is judged once."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, RunQuestion, Verdict
from apps.reasoning.sentences import split_sentences
from apps.review import services
from apps.review.compare.diff import ALIKE, Gap, align, fold, mark_words, plain
from apps.review.compare.reasons import evidence_of, split_reason, suggest, suggest_new
from apps.review.compare.services import judge_alike, mark_reason, preview_alike
from apps.review.compare.similar import THRESHOLD, overlap, similar_sentences, telling_words
from apps.review.models_records import ReasonMark
from apps.review.services import OverrideError, VersionConflict
from tests.factories import make_run, make_user, make_verdict
from tests.review.test_override import Scene, make_scene

words = st.sampled_from("insulin potassium lowers raises the heart rate before after it dose of salt".split())  # noqa: SIM905
sentences = st.lists(words, min_size=1, max_size=8).map(lambda w: " ".join(w).capitalize() + ".")
texts = st.lists(sentences, max_size=12).map(" ".join)
anything = st.text(alphabet="aB .?!\n\t“”é—", max_size=200)


# the diff


@given(before=texts | anything, after=texts | anything)
def test_each_side_of_a_comparison_is_its_text(before: str, after: str) -> None:
    rows = align(before, after)
    assert [r.left for r in rows if r.left] == split_sentences(before)
    assert [r.right for r in rows if r.right] == split_sentences(after)
    for row in rows:
        left, right = ("".join(p.text for p in parts) for parts in row.parts)
        assert left == (row.left.text if row.left else "")
        assert right == (row.right.text if row.right else "")
        assert (row.left is None, row.right is None) == {"add": (True, False), "cut": (False, True)}.get(
            row.kind, (False, False)
        )
        if row.kind == "same":
            assert row.left
            assert row.right
            assert plain(row.left.text) == plain(row.right.text)
            assert not any(p.changed for parts in row.parts for p in parts)


@given(before=texts, after=texts)
def test_folding_hides_only_what_is_the_same_and_loses_nothing(before: str, after: str) -> None:
    rows = align(before, after)
    unfolded = [r for row in fold(rows) for r in (row.rows if isinstance(row, Gap) else [row])]
    assert unfolded == rows
    assert all(r.kind == "same" for row in fold(rows) if isinstance(row, Gap) for r in row.rows)


@given(text=texts | anything)
def test_a_text_compared_with_itself_is_the_same(text: str) -> None:
    assert {r.kind for r in align(text, text)} <= {"same"}


@given(left=texts | anything, right=texts | anything)
def test_marked_words_are_the_words(left: str, right: str) -> None:
    a, b = mark_words(left, right)
    assert ("".join(p.text for p in a), "".join(p.text for p in b)) == (left, right)
    unchanged = [[w for p in side if not p.changed for w in plain(p.text).split()] for side in (a, b)]
    assert len(unchanged[0]) == len(unchanged[1])


def test_a_changed_sentence_shows_its_changed_words() -> None:
    rows = align(
        "Potassium is low. Start insulin now at a full dose. Watch the heart.",
        "Potassium is low. Start insulin later at a full dose. Then give salt. Watch the heart.",
    )
    assert [r.kind for r in rows] == ["same", "changed", "add", "same"]
    old, new = rows[1].parts
    assert [p.text.strip() for p in old if p.changed] == ["now"]
    assert [p.text.strip() for p in new if p.changed] == ["later"]


def test_sentences_that_share_little_stay_apart_and_pairs_never_cross() -> None:
    rows = align("Alpha beta gamma delta. One two three four.", "One two three five. Alpha beta gamma epsilon.")
    kinds = [r.kind for r in rows]
    assert kinds.count("changed") == 1
    assert {r.kind for r in align("Alpha beta.", "Gamma delta.")} == {"cut", "add"}
    assert 0 < ALIKE < 1


def test_very_long_stretches_are_still_told() -> None:
    before = " ".join(f"Finding number {n} is here." for n in range(300))
    after = " ".join(f"Result number {n} is there." for n in range(300))
    rows = align(before, after)
    assert [r.kind for r in rows].count("cut") == 300


# reasons


PARENT = "Potassium is 3.1. Start insulin at once, whatever the potassium. The answer is C."


def test_a_reason_whose_words_are_gone_counts_as_fixed() -> None:
    evidence = evidence_of("It says “start insulin at once” which is unsafe.", path=PARENT)
    assert evidence.numbers == (2,)
    assert suggest(evidence, "Potassium is 3.1. Replace potassium first.") == "fixed"
    assert suggest(evidence, "So we START  insulin at once.") == "present"


def test_a_reason_that_points_to_sentences_goes_with_them() -> None:
    evidence = evidence_of("Unsafe.", path=PARENT, pointed=[2])
    assert suggest(evidence, "Start insulin at once, whatever the potassium.") == "present"
    assert suggest(evidence, "Start insulin later, whatever the potassium.") == "fixed"


def test_a_reason_that_points_to_nothing_gets_no_suggestion() -> None:
    for reason in ("It is wrong.", "It says “low” twice.", "“words that are nowhere in it”"):
        assert suggest(evidence_of(reason, path=PARENT), "Anything.") == ""


def test_a_reason_against_the_later_path_is_new_unless_the_earlier_said_it_too() -> None:
    child = "Give bicarbonate straight away. Potassium is 3.1."
    assert suggest_new(evidence_of("“give bicarbonate straight away” is wrong", path=child), PARENT) == "new"
    assert suggest_new(evidence_of("“potassium is 3.1” is misread", path=child), PARENT) == "present"


@given(path=texts, other=texts, pointed=st.sets(st.integers(1, 12)))
def test_the_suggestion_is_what_the_rule_says(path: str, other: str, pointed: set[int]) -> None:
    evidence = evidence_of("Wrong.", path=path, pointed=pointed)
    named = {plain(s.text) for s in split_sentences(path) if s.number in pointed}
    there = named & {plain(s.text) for s in split_sentences(other)}
    assert suggest(evidence, other) == ("" if not named else "present" if there else "fixed")
    assert suggest(evidence, path) in ("", "present")


def test_listed_reasons_are_taken_apart_and_prose_is_not() -> None:
    assert split_reason("- Wrong dose.\n- Missed the pH.") == ["Wrong dose.", "Missed the pH."]
    assert split_reason("1. A first.\n2) A second.") == ["A first.", "A second."]
    assert split_reason("One thing.\nAnother line.") == ["One thing.\nAnother line."]
    assert split_reason("- Only one.") == ["- Only one."]


# the same claim


def test_the_same_claim_in_other_words_is_found() -> None:
    marked = {4: "Insulin should be started immediately despite a potassium of 3.1."}
    text = "Fluids first. Insulin should be started at once despite a potassium of 3.1 mEq/L. Then watch. Yes."
    assert [(m.number, m.of) for m in similar_sentences(marked, text)] == [(2, 4)]
    assert similar_sentences({1: "So it is."}, "So it is.") == []


@given(a=sentences, b=sentences)
def test_likeness_is_the_same_both_ways_and_whole_for_the_same(a: str, b: str) -> None:
    x, y = telling_words(a), telling_words(b)
    assert overlap(x, y) == overlap(y, x)
    assert 0 <= overlap(x, y) <= 1
    if x:
        assert overlap(x, x) == 1
    assert bool(similar_sentences({1: a}, b)) == (overlap(x, y) >= THRESHOLD and min(len(x), len(y)) >= 3)


@pytest.fixture
def scene(db: None, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(services, "want_work", lambda **_: None)
    return make_scene(3)


def judge(scene: Scene, places: list[int], **changes: Any) -> Any:
    given_: dict[str, Any] = {
        "run": scene.run,
        "sentences": {scene.paths[n]: [n + 1, 2] for n in places},
        "label": "error",
        "axes": {"correctness": True, "coherence": True, "factuality": False},
        "reason": "Insulin at 3.1 is unsafe.",
        "by": scene.person,
        "idempotency_key": uuid.uuid4(),
    }
    return judge_alike(**(given_ | changes))


def test_one_verdict_for_several_paths_changes_what_was_shown_together(scene: Scene) -> None:
    paths = [scene.paths[n] for n in (0, 1, 2)]
    shown = preview_alike(run=scene.run, paths=paths, reviewer=scene.person, label="error")
    assert Verdict.objects.filter(source="person").count() == 0
    done = judge(scene, [0, 1, 2])
    row = scene.row()
    assert (shown.errors_before, shown.errors_after, shown.tier_before, shown.tier_after) == (3, 6, "easy", "medium")
    assert (row.error_count, row.tier, row.state, row.reason, row.hold) == (6, "medium", "waiting", shown.reason_after, shown.hold)  # fmt: skip
    assert done.consequences == shown
    said = Verdict.objects.filter(source="person").order_by("path_id")
    assert [(v.path, v.reason, v.details["sentences"]) for v in said] == [
        (scene.paths[n], "Insulin at 3.1 is unsafe.", sorted([n + 1, 2])) for n in (0, 1, 2)
    ]
    assert check_run(scene.run) == []


def test_all_of_them_or_none(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ReasoningPath.objects.filter(pk=scene.paths[5].pk).update(current=False)
    for path in scene.paths:
        path.refresh_from_db()
    with pytest.raises(OverrideError, match="replaced"):
        judge(scene, [0, 5])
    assert Verdict.objects.filter(source="person").count() == 0
    with pytest.raises(OverrideError, match="at least one path"):
        judge(scene, [])
    with pytest.raises(OverrideError, match="different questions"):
        judge(scene, [], sentences={scene.paths[0]: [1], make_scene(2, run=scene.run).paths[0]: [1]})


def test_sent_twice_it_is_saved_once_and_a_late_one_is_told(scene: Scene) -> None:
    key, version = uuid.uuid4(), scene.row().version
    first = judge(scene, [0, 1], idempotency_key=key, expected_version=version)
    again = judge(scene, [0, 1], idempotency_key=key, expected_version=version)
    assert (again.replayed, again.verdicts, again.summary) == (True, first.verdicts, first.summary)
    assert Verdict.objects.filter(source="person").count() == 2
    with pytest.raises(OverrideError, match="another judgment"):
        judge(scene, [0, 2], idempotency_key=key)
    with pytest.raises(OverrideError, match="another judgment"):
        judge(scene, [0, 1], idempotency_key=key, by=make_user())
    with pytest.raises(VersionConflict):
        judge(scene, [2], expected_version=version)
    assert check_run(scene.run) == []


def test_other_runs_that_use_the_paths_follow(scene: Scene) -> None:
    other = make_run(paths_from=scene.run)
    RunQuestion.objects.create(
        run=other, question=scene.paths[0].question, benchmark_id=scene.paths[0].question.benchmark_id
    )
    for path in scene.paths:
        make_verdict(path, run=other, label="correct")
    services.follow_questions(other, [scene.question])
    paths = scene.paths[:2]
    shown = preview_alike(run=scene.run, paths=paths, reviewer=scene.person, label="error")
    assert [(c.run_id, c.errors_before, c.errors_after) for c in shown.others] == [(other.pk, 0, 2)]
    judge(scene, [0, 1])
    assert scene.row(other).error_count == 2


# marks


def test_marks_are_kept_and_the_latest_stands(db: None) -> None:
    scene = make_scene(5)
    child = scene.run.paths.filter(origin="refined")[0]
    verdict = make_verdict(child.parent, label="error", reviewer=scene.person, reason="- Wrong dose.\n- Missed the pH.")
    other = make_user()

    def mark(by: User, value: str, part: int = 0) -> ReasonMark:
        return mark_reason(
            verdict=verdict, part=part, before=child.parent, after=child, mark=value, suggested="fixed", by=by
        )

    first = mark(scene.person, "present")
    assert mark(other, "present") == first
    second = mark(other, "fixed")
    mark(other, "fixed", part=1)
    rows = list(ReasonMark.objects.filter(part=0).order_by("pk"))
    assert [(r.mark, r.current, r.by) for r in rows] == [("present", False, scene.person), ("fixed", True, other)]
    assert second.replaces == first
    for part, value in ((2, "fixed"), (0, "new"), (0, "gone")):
        with pytest.raises(OverrideError):
            mark(other, value, part)
    stranger = make_scene(2).paths[0]
    with pytest.raises(OverrideError):
        mark_reason(verdict=verdict, part=0, before=stranger, after=child, mark="fixed", by=other)
