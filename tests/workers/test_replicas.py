"""The choice of a replica: even, stable, bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.limits.replicas import SPILL, choose, ranked

addresses = st.lists(st.integers(1, 60_000), min_size=1, max_size=12, unique=True).map(
    lambda ports: [f"http://10.0.0.1:{port}/v1" for port in ports]
)


def idle(names: list[str]) -> dict[str, int]:
    return dict.fromkeys(names, 0)


@given(addresses, st.integers(0, 2**63))
def test_all_calls_of_a_question_go_to_one_replica_whatever_the_order(names, question):
    assert choose(question, idle(names)) == choose(question, idle(names[::-1])) == ranked(question, idle(names))[0]


@settings(max_examples=20, deadline=None)
@given(addresses)
def test_questions_are_spread_evenly(names):
    """Consecutive numbers, as question ids are."""
    questions = 4000
    counts = Counter(choose(question, idle(names)) for question in range(questions))
    even = questions / len(names)
    assert set(counts) == set(names)
    assert all(abs(count - even) < 6 * even**0.5 + 1 for count in counts.values())


@settings(deadline=None)
@given(addresses.filter(lambda names: len(names) > 1), st.data())
def test_when_one_leaves_only_its_questions_move(names, data):
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    for question in range(200):
        before, after = choose(question, idle(names)), choose(question, idle(left))
        assert after == before or before == gone


@settings(deadline=None)
@given(addresses, st.lists(st.integers(0, 20), min_size=1, max_size=300))
def test_no_replica_has_far_more_than_the_mean(names, questions):
    loads = idle(names)
    for question in questions:
        address = choose(question, loads)
        assert loads[address] < SPILL * sum(loads.values()) / len(loads) + 1
        loads[address] += 1


def test_a_full_replicas_calls_go_to_the_questions_next_one():
    names = [f"http://10.0.0.{n}/v1" for n in range(4)]
    first, second = ranked(5, idle(names))[:2]
    assert choose(5, {**idle(names), first: 40}) == second
    assert choose(5, {**dict.fromkeys(names, 36), first: 40}) == first
