"""Sampling plans: every stratum is honoured, chances are true and add up, gold takes its share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.review.queues.plans import (
    PlanError,
    allocate,
    at_cut_off,
    flip_value,
    gold_places,
    parse_plan,
)
from apps.review.statistics.tiers import true_error_distribution

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1)


@st.composite
def frames(drawn) -> tuple[dict[str, int], int, int]:
    sizes = drawn(SIZES)
    return sizes, drawn(st.integers(len(sizes), sum(sizes.values()) + 5)), drawn(st.integers(0, 2**40))


@given(frames(), st.sampled_from(["equal", "proportional"]))
def test_allocation_honours_every_stratum_and_adds_up(world, how):
    sizes, size, _ = world
    given_ = allocate(sizes, size, how)
    assert sum(given_.values()) == min(size, sum(sizes.values()))
    assert all(1 <= given_[stratum] <= sizes[stratum] for stratum in sizes)


@given(frames())
def test_equal_allocation_differs_only_where_a_stratum_is_used_up(world):
    sizes, size, _ = world
    given_ = allocate(sizes, size)
    most = max(given_.values())
    assert all(given_[s] >= most - 1 or given_[s] == sizes[s] for s in sizes)


@given(st.integers(2, 5).flatmap(lambda k: st.lists(st.integers(50, 500), min_size=k, max_size=k)))
def test_proportional_allocation_follows_the_sizes(numbers):
    sizes = {str(n): size for n, size in enumerate(numbers)}
    given_ = allocate(sizes, 50, "proportional")
    assert all(abs(given_[s] - 50 * sizes[s] / sum(numbers)) <= len(sizes) + 1 for s in sizes)


def test_more_strata_than_places_is_refused_in_words():
    with pytest.raises(PlanError, match="3 strata need at least 3 places, 2"):
        allocate({"a": 5, "b": 5, "c": 1}, 2)


@given(st.integers(1, 80), st.integers(0, 40), st.floats(0, 0.6), st.integers(0, 99))
def test_gold_takes_its_share_and_a_place_of_its_own(items, gold, share, seed):
    places = gold_places(items, gold, share=share, seed=seed)
    assert len(places) == min(round(items * share / (1 - share)), gold)
    assert places == sorted(set(places))
    assert all(1 <= place <= items + len(places) for place in places)


def test_gold_may_stand_anywhere():
    seen = Counter(place for seed in range(900) for place in gold_places(8, 1, share=0.1, seed=seed))
    assert set(seen) == set(range(1, 10))
    assert all(abs(n - 100) < 50 for n in seen.values())


def test_a_tier_is_least_sure_next_to_its_cut_off():
    prior = tuple(true_error_distribution([30, 20, 15, 10, 8, 7, 6, 5, 4, 3], sensitivity=0.9, specificity=0.95))
    value = {
        errors: flip_value(errors, 9 - errors, easy=4, medium=7, sensitivity=0.9, specificity=0.95, prior=prior)
        for errors in range(10)
    }
    assert all(0 <= v <= 1 for v in value.values())
    assert value[4] > value[3] > value[2] > value[0]
    assert value[5] > value[6]
    assert [e for e in range(10) if at_cut_off(e, easy=4, medium=7)] == [4, 5, 7, 8]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"kind": "stratified"}, "by: name what"),
        ({"kind": "random", "by": ["tier"]}, "by: name what"),
        ({"kind": "stratified", "by": ["label"], "whole_questions": True}, "label differs within a question"),
        ({"kind": "paths"}, "list the ids"),
        ({"kind": "contradictions", "whole_questions": True}, "whole_questions"),
        ({"sensitivity": 0.4, "specificity": 0.5}, "no better than chance"),
        ({"kind": "tier_flip", "filter": {"labels": ["error"]}}, "weighs all paths"),
        ({"kind": "lucky"}, "kind:"),
        ({"size": 0}, "size:"),
        ({"colour": "red"}, "colour:"),
        ({"gold_share": 1}, "gold_share:"),
    ],
)
def test_a_plan_that_cannot_be_used_says_why(plan, said):
    with pytest.raises(PlanError, match=said):
        parse_plan(plan)
