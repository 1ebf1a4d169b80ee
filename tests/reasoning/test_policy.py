"""Labels, tiers and ranking: each rule by itself."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.policy.facts import PathFacts, PersonVerdict, Policy
from apps.reasoning.policy.labels import effective_label, is_keepable
from apps.reasoning.policy.ranking import rank_paths
from apps.reasoning.policy.tiers import settled_tier, tier_of
from tests.reasoning.driver import KEY, SLOTS, WRONG, policy

ORDER = ("easy", "medium", "difficult")


@st.composite
def cutoffs(draw: st.DrawFn) -> Policy:
    easy = draw(st.integers(0, 7))
    return policy(easy=easy, medium=draw(st.integers(easy + 1, 8)))


@pytest.mark.parametrize(("errors", "tier"), list(enumerate(["easy"] * 5 + ["medium"] * 3 + ["difficult"] * 2)))
def test_published_cutoffs(errors: int, tier: str) -> None:
    assert tier_of(errors, policy()) == tier


@given(cutoffs(), st.integers(0, 8))
def test_one_more_error_never_makes_a_question_easier(rules: Policy, errors: int) -> None:
    assert ORDER.index(tier_of(errors, rules)) <= ORDER.index(tier_of(errors + 1, rules))


@given(cutoffs(), st.integers(0, 9), st.integers(0, 9))
def test_a_tier_is_settled_exactly_when_all_completions_agree(rules: Policy, errors: int, missing: int) -> None:
    missing = min(missing, 9 - errors)
    completions = {tier_of(errors + more, rules) for more in range(missing + 1)}
    expected = completions.pop() if len(completions) == 1 else None
    assert settled_tier(errors, missing, rules) == expected


def path(*, judge: str | None = "correct", people: str = "", answer: str = KEY, **fields: object) -> PathFacts:
    labels = {"C": "correct", "E": "error"}
    verdicts = [PersonVerdict(n, labels[letter], n) for n, letter in enumerate(people, start=1)]  # type: ignore[arg-type]
    return PathFacts(1, "generated", "a", 1, answer=answer, judge_label=judge, people=verdicts, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("people", "label_policy", "label", "source", "disputed"),
    [
        ("", "single", "correct", "judge", False),
        ("E", "single", "error", "person", False),
        ("EC", "single", "correct", "person", False),
        ("E", "two", "correct", "judge", False),
        ("EE", "two", "error", "person", False),
        ("EC", "two", "correct", "judge", True),
        ("CE", "two", "correct", "judge", True),
    ],
)
def test_whose_label_stands(people: str, label_policy: str, label: str, source: str, disputed: bool) -> None:
    found = effective_label(path(people=people), KEY, policy(label_policy=label_policy))
    assert (found.label, found.source, found.disputed) == (label, source, disputed)
    assert found.overridden == (source == "person")


@pytest.mark.parametrize("label_policy", ["single", "two"])
def test_adjudication_ends_a_dispute(label_policy: str) -> None:
    found = effective_label(path(people="EC", adjudication="error"), KEY, policy(label_policy=label_policy))
    assert (found.label, found.source, found.disputed) == ("error", "adjudication", False)


def test_the_order_of_people_is_by_time_not_by_position() -> None:
    late, early = PersonVerdict(1, "error", 9), PersonVerdict(2, "correct", 3)
    facts = PathFacts(1, "generated", "a", 1, judge_label="correct", people=[late, early])
    assert effective_label(facts, KEY, policy()).label == "error"


def test_unjudged_is_neither_and_is_never_kept() -> None:
    for judge in (None, "unjudged"):
        found = effective_label(path(judge=judge), KEY, policy())
        assert found.label == "unjudged"
        assert not is_keepable(path(judge=judge), found, KEY)


@pytest.mark.parametrize(("answer", "kept"), [(KEY, True), ("", True), (WRONG, False)])
def test_a_correct_path_is_kept_only_if_its_answer_is_the_key_or_absent(answer: str, kept: bool) -> None:
    facts = path(answer=answer)
    label = effective_label(facts, KEY, policy())
    assert is_keepable(facts, label, KEY) is kept
    assert label.contradiction is (answer == WRONG)


def paths_of(*places: tuple[str, int]) -> list[PathFacts]:
    return [PathFacts(n, "generated", *place) for n, place in enumerate(places, start=1)]


@given(st.integers(0, 2**32), st.integers(1, 10**6))
def test_a_tie_goes_to_a_generator_not_yet_taken(seed: int, question: int) -> None:
    paths = paths_of(("a", 1), ("a", 2), ("b", 1))
    ordered = rank_paths(paths, dict.fromkeys((1, 2, 3), 4), seed=seed, question_id=question)
    assert {p.generator for p in ordered[:2]} == {"a", "b"}


def test_a_better_score_goes_before_another_generator() -> None:
    ordered = rank_paths(paths_of(("a", 1), ("a", 2), ("b", 1)), {1: 5, 2: 5, 3: 4}, seed=1, question_id=1)
    assert [p.generator for p in ordered] == ["a", "a", "b"]


@given(st.permutations(SLOTS), st.lists(st.integers(0, 5), min_size=9, max_size=9), st.integers(0, 99))
def test_ranking_is_a_permutation_by_score_whatever_the_order_given(
    places: list[tuple[str, int]], scores: list[int], seed: int
) -> None:
    paths = paths_of(*places)
    given_scores = {p.id: score for p, score in zip(paths, scores, strict=True)}
    ordered = rank_paths(paths, given_scores, seed=seed, question_id=3)
    again = rank_paths(paths[::-1], given_scores, seed=seed, question_id=3)
    assert sorted(p.id for p in ordered) == sorted(p.id for p in paths)
    assert [p.id for p in ordered] == [p.id for p in again]
    assert all(given_scores[x.id] >= given_scores[y.id] for x, y in itertools.pairwise(ordered))
