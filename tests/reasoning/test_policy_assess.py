"""The assessment of a question: properties over all that can happen, and the rules of each tier."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.reasoning.policy.assess import FIRST_STAGES, Assessment, assess
from apps.reasoning.policy.facts import PersonVerdict, Policy, QuestionFacts
from apps.reasoning.policy.tiers import tier_of
from apps.reasoning.words import REASONS
from tests.reasoning.driver import KEY, carry_out, judged, policy, random_outcome, run_to_end

POLICIES = st.builds(
    policy,
    keep=st.integers(1, 3),
    regenerate=st.integers(1, 3),
    label_policy=st.sampled_from(["single", "two"]),
    unjudged_policy=st.sampled_from(["wait", "count_as_error", "exclude"]),
    seed=st.integers(0, 5),
    allow_held_out=st.booleans(),
)
WEIGHTS = st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 3), st.integers(0, 3))


def check_consistent(found: Assessment, facts: QuestionFacts, rules: Policy) -> None:
    """What the tables' constraints and the invariants ask of every assessment."""
    assert found.state in ("ready", "excluded", "waiting")
    assert (found.reason == "") == (found.state == "ready")
    assert found.reason in REASONS or not found.reason
    assert (found.tier is None) == (found.error_count is None)
    assert len(found.pattern) == len(found.answers) == len(rules.slots)
    slots = [c.slot for c in found.choices]
    assert slots == list(range(1, len(slots) + 1))
    for chosen in ([c.path for c in found.choices], [c.source for c in found.choices]):
        named = [one for one in chosen if one is not None]
        assert len(set(named)) == len(named)
    assert len(found.choices) <= max(rules.keep, rules.regenerate)
    items = [(i.stage, i.key) for i in found.items]
    assert len(set(items)) == len(items)
    assert not set(items) & facts.failures
    if found.state != "waiting":
        assert not found.items
    if found.state == "ready":
        assert found.records >= 1
        assert found.records == sum(
            c.path is not None and facts.responses.get(c.path) == facts.key for c in found.choices
        )
        assert all(found.labels[c.path].label == "correct" for c in found.choices if c.path is not None)
        assert found.tier is not None


def random_people(facts: QuestionFacts, random: Random) -> None:
    for path in facts.paths:
        for reviewer in (1, 2):
            if random.random() < 0.2:
                label = random.choice(("correct", "error"))
                path.people = [v for v in path.people if v.reviewer != reviewer]
                path.people.append(PersonVerdict(reviewer, label, random.randrange(10**6)))  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(POLICIES, WEIGHTS, st.integers(0, 2**32), st.booleans(), st.booleans())
def test_every_question_ends_with_a_reason_and_nothing_to_do(
    rules: Policy, weights: tuple[int, int, int, int], seed: int, held_out: bool, people: bool
) -> None:
    """Answered item by item, in any order, with failures and people in between."""
    random = Random(seed)
    facts = QuestionFacts(id=11, key=KEY, held_out=held_out)
    outcome = random_outcome(random, weights)
    for _step in range(150):
        found = assess(facts, rules)
        check_consistent(found, facts, rules)
        if not found.items:
            break
        item = random.choice(found.items)
        carry_out(facts, item, outcome(item))
        if people and len(facts.paths) == 9 and random.random() < 0.05:
            random_people(facts, random)
    assert not found.items
    if held_out and not rules.allow_held_out:
        assert found.state != "ready"


@given(st.text("CEU?-", min_size=9, max_size=9), st.booleans(), st.booleans())
def test_a_flagged_question_is_excluded_with_its_labels_and_nothing_is_made(
    labels: str, hold: bool, held: bool
) -> None:
    """Whatever else is true of it; revoked, it is as if the flag had never been there."""
    facts = judged(labels, hold=hold, held_out=held, invalid=True)
    found = assess(facts, policy())
    facts.invalid = False
    sound = assess(facts, policy())
    assert (found.state, found.reason, found.records) == ("excluded", "question_invalid", 0)
    assert found.items == found.choices == []
    assert (found.pattern, found.tier, found.error_count) == (sound.pattern, sound.tier, sound.error_count)
    assert sound.reason != "question_invalid"


@settings(max_examples=200, deadline=None)
@given(st.text("CEU?-", min_size=9, max_size=9), st.data())
def test_a_tier_once_set_is_kept_by_every_completion(labels: str, data: st.DataObject) -> None:
    """Missing paths and verdicts that come later do not change a tier that is set under `wait`."""
    before = assess(judged(labels), policy())
    full = "".join(data.draw(st.sampled_from("CE")) if letter in "U?-" else letter for letter in labels)
    after = assess(judged(full), policy())
    assert after.tier == tier_of(full.count("E"), policy())
    assert before.tier in (None, after.tier)
    assert before.error_count in (None, labels.count("E"))


@given(st.text("CE", min_size=9, max_size=9), st.integers(0, 8))
def test_turning_a_correct_path_into_an_error_never_makes_the_question_easier(labels: str, place: int) -> None:
    worse = labels[:place] + "E" + labels[place + 1 :]
    order = ["easy", "medium", "difficult"]
    assert order.index(str(assess(judged(labels), policy()).tier)) <= order.index(
        str(assess(judged(worse), policy()).tier)
    )


def test_two_errors_and_one_missing_is_easy_at_once() -> None:
    found = assess(judged("EECCCCCC?"), policy())
    assert (found.tier, found.error_count) == ("easy", 2)
    assert [i.key for i in found.items] == ["path:9"]
    assert {i.stage for i in found.items} <= set(FIRST_STAGES)


UNSETTLED = "EEEECCCCU"  # four errors: the fifth decides


@pytest.mark.parametrize(
    ("unjudged_policy", "state", "reason", "tier"),
    [
        ("wait", "waiting", "unjudged", None),
        ("exclude", "excluded", "unjudged", None),
        ("count_as_error", "waiting", "rank", "medium"),
    ],
)
def test_what_an_unjudged_path_does_is_the_runs_choice(
    unjudged_policy: str, state: str, reason: str, tier: str | None
) -> None:
    facts = judged(UNSETTLED, failures={("verify", "path:9")})
    found = assess(facts, policy(unjudged_policy=unjudged_policy))
    assert (found.state, found.reason, found.tier) == (state, reason, tier)
    assert found.pattern == UNSETTLED


def test_a_persons_verdict_stands_in_for_the_judges() -> None:
    facts = judged(UNSETTLED)
    facts.paths[8].people.append(PersonVerdict(1, "error", 1))
    found = assess(facts, policy())
    assert (found.tier, found.error_count, found.overridden) == ("medium", 5, True)


def test_an_easy_question_keeps_its_two_best_as_they_are() -> None:
    facts = judged("CCCCCCCCC")
    asked: list[str] = []
    found, _ = run_to_end(facts, policy(), lambda item: (asked.append(item.stage), "good")[1])
    assert (found.state, found.records) == ("ready", 2)
    assert sorted(asked) == ["rank"] * 9 + ["summarise"] * 2
    assert all(c.path == c.source for c in found.choices)


def test_a_medium_question_refines_and_judges_again() -> None:
    asked: list[str] = []
    found, _ = run_to_end(judged("EEEEECCCC"), policy(), lambda item: (asked.append(item.stage), "good")[1])
    assert (found.state, found.records, found.tier) == ("ready", 2, "medium")
    assert {stage: asked.count(stage) for stage in asked} == {"rank": 4, "refine": 2, "reverify": 2, "summarise": 2}
    assert all(c.path != c.source for c in found.choices)


def test_nine_errors_of_nine_regenerate() -> None:
    found = assess(judged("E" * 9), policy(regenerate=1))
    assert [(i.stage, i.key) for i in found.items] == [("regenerate", "new:1/1")]
    done, _ = run_to_end(judged("E" * 9), policy(), lambda item: "good")
    assert (done.state, done.records, done.tier) == ("ready", 1, "difficult")


def test_a_regenerated_path_that_fails_twice_excludes_the_question() -> None:
    bad = run_to_end(judged("E" * 9), policy(), lambda item: "bad" if item.stage == "reverify" else "good")
    assert (bad[0].state, bad[0].reason) == ("excluded", "rewrites_failed")


def test_a_rewriting_that_fails_twice_gives_its_place_to_the_next_ranked() -> None:
    facts = judged("EEEEECCCC")
    facts.scores = {6: 5, 7: 4, 8: 3, 9: 2}
    first = 6

    def outcome(item: object) -> str:
        about = next((p for p in facts.paths if p.id == item.path), None)  # type: ignore[attr-defined]
        return "bad" if item.stage == "reverify" and about and about.parent == first else "good"  # type: ignore[attr-defined]

    found, _ = run_to_end(facts, policy(), outcome)
    assert (found.state, found.records) == ("ready", 2)
    assert [c.source for c in found.choices] == [7, 8]
    assert len([p for p in facts.paths if p.parent == first]) == 2


def test_when_every_rewriting_fails_the_question_is_excluded() -> None:
    facts = judged("EEEEECCCC")
    found, _ = run_to_end(facts, policy(), lambda item: "bad" if item.stage == "reverify" else "good")
    assert (found.state, found.reason, found.records) == ("excluded", "rewrites_failed", 0)
    assert len([p for p in facts.paths if p.origin == "refined"]) == 8


@pytest.mark.parametrize(("allowed", "state"), [(False, "excluded"), (True, "ready")])
def test_a_held_out_question_is_judged_but_nothing_is_made_of_it(allowed: bool, state: str) -> None:
    facts = judged("?" * 9, held_out=True)
    stages: set[str] = set()
    found, _ = run_to_end(facts, policy(allow_held_out=allowed), lambda item: (stages.add(item.stage), "good")[1])
    assert found.state == state
    assert found.tier == "easy"
    if not allowed:
        assert found.reason == "held_out"
        assert stages == {"verify"}


def test_a_summary_that_states_another_answer_does_not_leave() -> None:
    found, _ = run_to_end(judged("C" * 9), policy(), lambda item: "bad" if item.stage == "summarise" else "good")
    assert (found.state, found.reason, found.records) == ("excluded", "summary_answer_not_key", 0)


def test_no_path_to_keep_excludes_an_easy_question() -> None:
    found = assess(judged("EEEECCCCC", answers="CCCCCCCCC"), policy())
    assert (found.state, found.reason, found.contradictions) == ("excluded", "no_rankable_path", 5)


def test_a_disputed_path_makes_its_question_wait() -> None:
    facts = judged("C" * 9)
    done, _ = run_to_end(facts, policy(label_policy="two"), lambda item: "good")
    assert done.state == "ready"
    facts.paths[0].people = [PersonVerdict(1, "error", 1), PersonVerdict(2, "correct", 2)]
    found = assess(facts, policy(label_policy="two"))
    assert (found.state, found.reason, found.records) == ("waiting", "disputed", 0)
    assert (found.pattern[0], found.tier, found.error_count) == ("D", "easy", 0)
    facts.paths[0].adjudication = "correct"
    assert assess(facts, policy(label_policy="two")).state == "ready"


def test_a_question_on_hold_makes_nothing_again_until_confirmed() -> None:
    facts = judged("EEEECCCCC")
    assert run_to_end(facts, policy(), lambda item: "good")[0].state == "ready"
    facts.paths[4].people = [PersonVerdict(1, "error", 1)]
    facts.hold = True
    held = assess(facts, policy())
    assert (held.state, held.reason, held.tier, held.records, held.items) == ("waiting", "stale", "medium", 0, [])
    facts.hold = False
    assert {i.stage for i in assess(facts, policy()).items} == {"refine"}


@pytest.mark.parametrize(
    ("labels", "stage"), [("?" * 9, "verify"), ("C" * 9, "rank"), ("E" * 9, "regenerate"), ("-" * 9, "generate")]
)
def test_an_output_set_aside_leaves_the_question_waiting_with_a_reason(labels: str, stage: str) -> None:
    found, _ = run_to_end(judged(labels), policy(), lambda item: "failed" if item.stage == stage else "good")
    reason = "unjudged" if stage in ("verify", "generate") else "failed"
    assert (found.state, found.reason) == ("waiting", reason)
