"""People over what leaves: tier, choice, response, acceptance, return, exclusion. Shown, then exactly that, with no drift."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Response, RunQuestion, Selection, Verdict
from apps.reasoning.policy.assess import assess
from apps.reasoning.selectors import run_counters
from apps.review import services
from apps.review.consequences import Consequences
from apps.review.models_records import RecordDecision, RecordOverride
from apps.review.records import decisions, overrides, rewriting
from apps.review.records.decisions import read_record
from apps.review.services import OverrideError, VersionConflict, confirm_remake
from tests.factories import make_user, make_verdict
from tests.reasoning.driver import judged, policy, run_to_end
from tests.review.test_override import Scene, make_scene


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The stages asked of the pipeline, one list a time."""
    asked: list[list[str]] = []

    def want_work(*, run: Any, found: Any) -> None:
        asked.append([i.stage for a in found.values() for i in a.items])

    monkeypatch.setattr(services, "want_work", want_work)
    return asked


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene(4)


def asked(scene: Scene, **more: Any) -> dict[str, Any]:
    return {"run": scene.run, "question": scene.paths[0].question, "by": scene.person, **more}


def record(scene: Scene, slot: int = 1) -> Any:
    found = read_record(scene.run, scene.paths[0].question, slot)
    assert found
    return found


def accept(scene: Scene, slot: int = 1, **more: Any) -> Any:
    return decisions.accept_record(**asked(scene, slot=slot, seen_hash=record(scene, slot).hash, **more))


def good_text(scene: Scene) -> str:
    question = scene.paths[0].question
    return f"Potassium first, insulin after.\n\nAnswer: {question.key_letter}. {question.key_text}"


def as_it_is(scene: Scene) -> tuple[Any, ...]:
    row = scene.row()
    return row.error_count, row.tier or "", row.state, row.reason, row.records if row.state == "ready" else 0, row.hold


def foreseen(change: Consequences) -> tuple[Any, ...]:
    return (
        change.errors_after, change.tier_after, change.state_after, change.reason_after, change.records_after, change.hold,
    )  # fmt: skip


# tier


@pytest.mark.parametrize(("tier", "stages"), [("medium", ["refine", "refine"]), ("difficult", ["regenerate"])])
def test_a_tier_by_a_person_is_done_as_it_was_shown(
    scene: Scene, wanted: list[list[str]], tier: str, stages: list[str]
) -> None:
    shown = overrides.preview_tier(run=scene.run, question=scene.paths[0].question, tier=tier)
    assert (scene.row().tier, RecordOverride.objects.count()) == ("easy", 0)
    saved = overrides.override_tier(**asked(scene, tier=tier, reason="Harder than it looks."))
    assert as_it_is(scene) == foreseen(shown) == (4, tier, "waiting", "stale", 0, True)
    assert saved.consequences == shown
    assert saved.made.consequences["summary"] == saved.summary == shown.summary
    assert shown.remade == {stages[0]: len(stages)}
    assert wanted == [[]]
    assert run_counters(scene.run)[f"tier:{tier}"] == 1
    assert scene.row().overridden
    assert check_run(scene.run) == []
    confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person)
    assert wanted[-1] == stages
    assert check_run(scene.run) == []


def test_a_tier_given_back_follows_the_errors_again(scene: Scene) -> None:
    overrides.override_tier(**asked(scene, tier="medium", reason="Harder."))
    saved = overrides.override_tier(**asked(scene, tier="", reason="On second thought."))
    assert (scene.row().tier, scene.row().state, scene.row().hold, scene.row().overridden) == (
        "easy",
        "ready",
        False,
        False,
    )
    rows = list(RecordOverride.objects.order_by("pk"))
    assert [(r.tier, r.current) for r in rows] == [("medium", False), ("", True)]
    assert saved.made.replaces == rows[0]
    assert check_run(scene.run) == []


def test_a_persons_tier_stands_when_verdicts_change_and_needs_none(scene: Scene) -> None:
    overrides.override_tier(**asked(scene, tier="medium", reason="Harder."))
    scene.override(0, "error")
    assert (scene.row().tier, scene.row().error_count) == ("medium", 5)
    facts = judged("CCCCC???E", tier_by_person="medium")
    assert assess(facts, policy()).tier == "medium"
    assert check_run(scene.run) == []


# choice


def test_other_paths_are_kept_and_the_ranker_gives_way(scene: Scene, wanted: list[list[str]]) -> None:
    kept = {s.path_id for s in Selection.objects.filter(run=scene.run, current=True)}
    others = [pk for pk in overrides.choosable(scene.run, scene.paths[0].question) if pk not in kept]
    mine = [others[0], *kept][:2]
    shown = overrides.preview_choice(run=scene.run, question=scene.paths[0].question, paths=mine)
    overrides.override_choice(**asked(scene, paths=mine, reason="Clearer for a student."))
    now = Selection.objects.filter(run=scene.run, current=True).order_by("slot")
    assert [(s.path_id, s.why) for s in now] == [(pk, "chosen by a person") for pk in mine]
    assert as_it_is(scene) == foreseen(shown)
    assert shown.remade == {"summarise": 1}
    assert shown.hold
    assert check_run(scene.run) == []
    overrides.override_choice(**asked(scene, paths=[], reason="The ranker was right."))
    assert {s.path_id for s in Selection.objects.filter(run=scene.run, current=True)} == kept
    assert scene.row().state == "ready"
    assert check_run(scene.run) == []


def test_what_cannot_be_kept_cannot_be_chosen(scene: Scene) -> None:
    correct, wrong = scene.paths[1].pk, scene.paths[8].pk
    for paths, words in (
        ([wrong], "Only a Correct path"),
        ([correct, correct], "different path"),
        ([p.pk for p in scene.paths[:3]], "keeps 2 paths"),
        ([], "already"),
    ):
        with pytest.raises(OverrideError, match=words):
            overrides.override_choice(**asked(scene, paths=paths, reason="So."))
    difficult = make_scene(9)
    with pytest.raises(OverrideError, match="difficult question"):
        overrides.override_choice(**asked(difficult, paths=[difficult.paths[0].pk], reason="So."))
    assert RecordOverride.objects.count() == 0


def test_a_chosen_path_that_turns_out_wrong_gives_its_slot_back(scene: Scene) -> None:
    chosen = scene.paths[2]
    overrides.override_choice(**asked(scene, paths=[chosen.pk], reason="Clearer."))
    scene.override(2, "error")
    assert chosen.pk not in {s.source_id for s in Selection.objects.filter(run=scene.run, current=True)}
    assert check_run(scene.run) == []


# response


def test_a_response_by_a_person_is_the_next_revision(scene: Scene, wanted: list[list[str]]) -> None:
    before = record(scene)
    accept(scene)
    shown = overrides.preview_response(run=scene.run, path=before.path, text=good_text(scene))
    saved = overrides.override_response(
        run=scene.run, path=before.path, text=good_text(scene), reason="Too vague.", by=scene.person
    )
    rows = list(Response.objects.filter(path=before.path).order_by("revision"))
    assert [(r.revision, r.current, r.author) for r in rows] == [(1, False, None), (2, True, scene.person)]
    assert saved.made.response == rows[1]
    assert (shown.records_changed, shown.remade, shown.hold) == (1, {}, False)
    assert as_it_is(scene) == foreseen(shown)
    assert record(scene).standing == "void"
    assert record(scene).hash != before.hash
    assert check_run(scene.run) == []


def test_a_response_must_state_the_key(scene: Scene) -> None:
    path = record(scene).path
    for text, words in (
        ("Insulin.\n\nAnswer: A", "answers A; the key is"),
        ("It depends.", "states no answer"),
        (" ", "Write"),
    ):
        with pytest.raises(OverrideError, match=words) as refused:
            overrides.override_response(run=scene.run, path=path, text=text, reason="So.", by=scene.person)
        assert refused.value.field == "text"
    assert Response.objects.filter(path=path).count() == 1


def test_a_persons_response_mends_a_summary_that_missed_the_key(db: None) -> None:
    scene = make_scene(4)
    Response.objects.filter(run=scene.run).update(answer="A")
    services.follow_questions(scene.run, [scene.question])
    assert scene.row().reason == "summary_answer_not_key"
    overrides.override_response(
        run=scene.run, path=record(scene).path, text=good_text(scene), reason="Missed the key.", by=scene.person
    )
    assert (scene.row().state, scene.row().records) == ("ready", 1)


# a rewritten path


def written(scene: Scene, *, path: ReasoningPath | None = None, **more: Any) -> Any:
    text = f"Potassium is 3.1, so it comes first.\n\nInsulin follows.\n\n{good_text(scene)}"
    said = {"text": text, "reason": "It skips a step.", "by": scene.person} | more
    return rewriting.override_path(run=scene.run, path=path or record(scene).path, **said)


def test_a_path_by_a_person_is_the_next_revision_and_judged_again(db: None, wanted: list[list[str]]) -> None:
    scene = make_scene(5)
    before = record(scene).path
    text = f"Potassium first, insulin after.\n\n{good_text(scene)}"
    shown = rewriting.preview_rewriting(run=scene.run, path=before, text=text)
    assert as_it_is(scene)[2:5] == ("ready", "", 2)
    saved = written(scene, text=text)
    assert as_it_is(scene) == foreseen(shown) == (5, "medium", "waiting", "stale", 0, True)
    assert shown.remade == {"reverify": 1}
    made = saved.made.path
    assert (made.revision, made.current, made.author, made.text) == (2, True, scene.person, text)
    assert (made.origin, made.parent, made.call, made.answer) == ("refined", before.parent, None, "D")
    before.refresh_from_db()
    assert not before.current
    assert check_run(scene.run) == []
    confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person)
    assert wanted[-1] == ["reverify"]
    make_verdict(made, label="correct")
    services.follow_questions(scene.run, [scene.question])
    assert wanted[-1] == ["summarise"]
    assert record(scene).path == made
    assert check_run(scene.run) == []


def test_a_path_by_a_person_that_the_judge_refuses_is_not_rewritten_by_a_model(
    db: None, wanted: list[list[str]]
) -> None:
    scene = make_scene(5)
    first = record(scene).selection.source_id
    made = written(scene).made.path
    confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person)
    make_verdict(made, label="error")
    services.follow_questions(scene.run, [scene.question])
    assert wanted[-1] == ["refine"]
    kept = Selection.objects.filter(run=scene.run, question=scene.question, current=True)
    assert first not in kept.values_list("source_id", flat=True)  # the next-ranked takes its place


def test_a_path_by_a_person_replaces_the_one_before(db: None) -> None:
    scene = make_scene(5)
    first = written(scene, idempotency_key=(key := uuid.uuid4())).made
    make_verdict(first.path, label="correct")
    services.follow_questions(scene.run, [scene.question])
    second = written(scene, path=first.path, text=f"Shorter.\n\n{good_text(scene)}").made
    first.refresh_from_db()
    assert (first.current, second.replaces, second.path.revision) == (False, first, 3)
    again = written(scene, path=first.path, idempotency_key=key)
    assert (again.replayed, again.made) == (True, first)


@pytest.mark.parametrize(
    ("errors", "text", "words"),
    [
        (4, "{good}", "Only a rewritten path"),
        (5, "Insulin first.\n\nAnswer: A", "answers A; the key is D"),
        (5, "  ", "Write the path"),
        (5, "{same}", "as it stands"),
    ],
)
def test_a_path_by_a_person_that_may_not_be(db: None, errors: int, text: str, words: str) -> None:
    scene = make_scene(errors)
    path = record(scene).path
    with pytest.raises(OverrideError, match=words):
        written(scene, path=path, text=text.format(good=good_text(scene), same=path.text))
    assert ReasoningPath.objects.filter(run=scene.run, revision=2).count() == 0


# accept, return, exclude


def test_an_acceptance_belongs_to_the_content_that_was_read(scene: Scene) -> None:
    saved = accept(scene)
    assert (record(scene).standing, saved.made.content_hash) == ("accepted", record(scene).hash)
    assert check_run(scene.run) == []
    with pytest.raises(OverrideError, match="already"):
        accept(scene)
    with pytest.raises(VersionConflict):
        decisions.accept_record(**asked(scene, slot=2, seen_hash="0" * 64))
    decisions.withdraw_decision(**asked(scene, slot=1))
    assert record(scene).standing == ""
    assert [d.current for d in RecordDecision.objects.order_by("pk")] == [False, True]


def test_an_excluded_record_stays_and_comes_back(scene: Scene) -> None:
    shown = decisions.preview_exclusion(run=scene.run, question=scene.paths[0].question, slot=1, excluded=True)
    decisions.exclude_record(**asked(scene, slot=1, reason="Cites a withdrawn drug."))
    assert as_it_is(scene) == foreseen(shown) == (4, "easy", "ready", "", 1, False)
    assert shown.records_changed == 1
    assert check_run(scene.run) == []
    decisions.exclude_record(**asked(scene, slot=2, reason="So does this."))
    assert (scene.row().state, scene.row().reason) == ("excluded", "record_excluded")
    assert check_run(scene.run) == []
    accept(scene, 1)
    decisions.withdraw_decision(**asked(scene, slot=2))
    assert (scene.row().state, scene.row().records) == ("ready", 2)
    assert check_run(scene.run) == []


def test_a_returned_response_is_made_again_once_confirmed(scene: Scene, wanted: list[list[str]]) -> None:
    first = record(scene)
    shown = decisions.preview_return(
        run=scene.run, question=scene.paths[0].question, slot=1, again="response", by=scene.person
    )
    decisions.return_record(**asked(scene, slot=1, again="response", reason="Leaves out why."))
    assert as_it_is(scene) == foreseen(shown) == (4, "easy", "waiting", "stale", 0, True)
    assert (shown.remade, shown.records_changed) == ({"summarise": 1}, 1)
    assert record(scene).standing == "returned"
    assert wanted == [[]]
    confirm_remake(run=scene.run, question_ids=[scene.question], by=scene.person)
    assert wanted[-1] == ["summarise"]
    Response.objects.create(
        run=scene.run, path=first.path, revision=2, text=good_text(scene), answer=first.response.answer
    )
    services.follow_questions(scene.run, [scene.question])
    assert record(scene).standing == "made_again"
    assert scene.row().state == "ready"
    assert check_run(scene.run) == []


def test_a_returned_path_gets_an_error_verdict(db: None) -> None:
    scene = make_scene(5)
    refined = record(scene)
    axes = {"correctness": True, "coherence": True, "factuality": False}
    key = uuid.uuid4()
    given = asked(scene, slot=1, again="path", reason="Wrong dose.", axes=axes, idempotency_key=key)
    shown = decisions.preview_return(
        run=scene.run, question=scene.paths[0].question, slot=1, again="path", by=scene.person
    )
    saved = decisions.return_record(**given)
    assert as_it_is(scene) == foreseen(shown)
    assert shown.remade["refine"] == 1
    assert saved.made.verdict == Verdict.objects.get(path=refined.path, source="person")
    assert (saved.made.verdict.label, saved.made.verdict.factuality) == ("error", False)
    assert read_record(scene.run, scene.paths[0].question, 1) is None
    assert check_run(scene.run) == []


def test_a_verdict_on_a_refined_path_works_as_any_other(db: None) -> None:
    """Its slot is written again, and what it gave no longer leaves."""
    scene = make_scene(5)
    refined = record(scene).path
    shown = services.preview_override(run=scene.run, path=refined, reviewer=scene.person, label="error")
    scene.override(path=refined)
    assert as_it_is(scene) == foreseen(shown)
    assert (shown.errors_before, shown.errors_after, shown.remade) == (5, 5, {"refine": 1})
    assert (scene.row().reason, scene.row().hold) == ("stale", True)
    assert check_run(scene.run) == []


# versions, repetition, constraints


def actions(scene: Scene) -> list[Any]:
    path = record(scene).path
    return [
        lambda **k: overrides.override_tier(**asked(scene, tier="medium", reason="So.", **k)),
        lambda **k: overrides.override_choice(**asked(scene, paths=[scene.paths[2].pk], reason="So.", **k)),
        lambda **k: overrides.override_response(
            run=scene.run, path=path, text=good_text(scene), reason="So.", by=scene.person, **k
        ),
        lambda **k: decisions.exclude_record(**asked(scene, slot=1, reason="So.", **k)),
        lambda **k: decisions.return_record(**asked(scene, slot=1, again="response", reason="So.", **k)),
        lambda **k: decisions.return_record(
            **asked(scene, slot=1, again="path", reason="So.", axes={"correctness": False, "coherence": True, "factuality": True}, **k)
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(6))
def test_late_saves_are_told_and_repeated_ones_are_saved_once(scene: Scene, number: int) -> None:
    act, version, key = actions(scene)[number], scene.row().version, uuid.uuid4()
    RunQuestion.objects.filter(pk=scene.row().pk).update(version=version + 1)
    with pytest.raises(VersionConflict):
        act(expected_version=version)
    first = act(expected_version=version + 1, idempotency_key=key)
    again = act(expected_version=version + 1, idempotency_key=key)
    assert (again.made, again.replayed, again.summary) == (first.made, True, first.summary)
    assert RecordOverride.objects.count() + RecordDecision.objects.count() == 1
    other = asked(scene, reason="So.", idempotency_key=key) | {"by": make_user()}
    with pytest.raises(OverrideError, match="another judgment"):
        overrides.override_tier(**other, tier="difficult") if number < 3 else decisions.exclude_record(**other, slot=2)
    assert check_run(scene.run) == []


def test_a_reason_is_asked_for(scene: Scene) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        RecordOverride.objects.create(
            run=scene.run, question=scene.paths[0].question, kind="tier", tier="easy", reason="", by=scene.person
        )
    with pytest.raises(OverrideError, match="Give the reason"):
        overrides.override_tier(**asked(scene, tier="medium", reason=" "))


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_both_count_and_the_later_stands() -> None:
    scene = make_scene(4)
    people = [make_user() for _ in range(6)]
    outcomes: list[str] = []

    def act(person: Any, tier: str) -> None:
        try:
            overrides.override_tier(run=scene.run, question=scene.paths[0].question, tier=tier, reason="So.", by=person)
            outcomes.append("saved")
        except OverrideError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=(p, ("medium", "difficult")[n % 2])) for n, p in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    assert RecordOverride.objects.count() == outcomes.count("saved")
    assert RecordOverride.objects.filter(current=True).count() == 1
    assert scene.row().tier == RecordOverride.objects.get(current=True).tier
    assert check_run(scene.run) == []


# rules alone


labels = st.lists(st.sampled_from("CCEU"), min_size=9, max_size=9).map("".join)


@given(labels=labels, tier=st.sampled_from(["easy", "medium", "difficult"]), chosen=st.permutations(range(1, 10)), most=st.integers(0, 3))  # fmt: skip
def test_every_question_ends_whatever_people_set(labels: str, tier: Any, chosen: list[int], most: int) -> None:
    facts = judged(labels, tier_by_person=tier, chosen=tuple(chosen[:most]))
    found, _ = run_to_end(facts, policy(), lambda item: "good")
    assert found.tier == tier
    assert found.state in ("ready", "excluded")
    correct = [p.id for p in facts.paths if p.is_base and found.labels[p.id].label == "correct"]
    if found.state == "ready" and tier != "difficult":
        first = [pk for pk in chosen[:most] if pk in correct][:2]
        assert [c.source for c in found.choices][: len(first)] == first
        assert found.records == min(2, len(correct))


@given(labels=labels, excluded=st.sets(st.integers(1, 9)))
def test_what_is_excluded_never_leaves_and_nothing_is_made_for_it(labels: str, excluded: set[int]) -> None:
    facts = judged(labels, tier_by_person="easy", excluded=excluded)
    found, _ = run_to_end(facts, policy(), lambda item: "good")
    kept = {c.path for c in found.choices}
    assert found.records == len(kept - excluded)
    assert not excluded & set(facts.responses)
    assert (found.state == "ready") == bool(kept - excluded)
