"""Whose turn it is on shared devices: decided from the work at hand, checked by simulated runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.serving import served, served_config
from workers.serving.rotation import Patience, Turns, stage_order

NAMES = ("a", "b", "c", "judge")
PATIENCE = Patience(empty_s=10, least=5, longest_s=60)


def turns(order: tuple[str, ...] = NAMES, patience: Patience = PATIENCE) -> Turns:
    return Turns(order, patience)


def test_nobody_before_there_is_work_and_then_at_once() -> None:
    one = turns()
    assert one.choose({}, 0) is None
    assert one.choose({"b": 1, "judge": 90}, 1) == "b"


def test_a_lane_is_emptied_before_the_next_has_its_turn() -> None:
    one = turns()
    assert one.choose({"a": 100, "b": 100, "c": 100}, 0) == "a"
    assert one.choose({"a": 1, "b": 100, "c": 100, "judge": 900}, 500) == "a"
    assert one.choose({"b": 100, "c": 100, "judge": 1000}, 501) == "a"
    assert one.choose({"b": 100, "c": 100, "judge": 1000}, 511) == "b"
    one.choose({"c": 100, "judge": 2000}, 900)
    assert one.choose({"c": 100, "judge": 2000}, 910) == "c"
    one.choose({"judge": 3000}, 1300)
    assert one.choose({"judge": 3000}, 1310) == "judge"
    one.choose({"a": 7, "judge": 0}, 1400)
    assert one.choose({"a": 7}, 1410) == "a"


def test_a_lane_that_is_empty_for_a_moment_keeps_its_turn() -> None:
    one = turns()
    one.choose({"a": 5}, 0)
    assert one.choose({"judge": 500}, 100) == "a"
    assert one.choose({"a": 2, "judge": 500}, 105) == "a"
    assert one.choose({"judge": 500}, 109) == "a"
    assert one.choose({"judge": 500}, 118) == "a"
    assert one.choose({"judge": 500}, 119) == "judge"


def test_a_trickle_waits_until_it_is_worth_a_switch_or_old() -> None:
    one = turns()
    one.choose({"a": 9}, 0)
    assert one.choose({"judge": 4}, 100) == "a"
    assert one.choose({"judge": 4}, 159) == "a"
    assert one.choose({"judge": 4}, 160) == "judge"
    one.choose({"c": 1}, 200)
    assert one.choose({"c": 5}, 210) == "c"


def test_enough_work_goes_before_a_trickle_earlier_in_the_order() -> None:
    one = turns()
    one.choose({"a": 9}, 0)
    one.choose({"b": 1, "judge": 80}, 100)
    assert one.choose({"b": 1, "judge": 80}, 110) == "judge"


def test_a_server_that_does_not_come_up_gives_way_and_comes_last() -> None:
    one = turns()
    assert one.choose({"a": 9, "b": 9}, 0) == "a"
    assert one.choose({"a": 9, "b": 9}, 1, {"a"}) == "b"
    one.choose({"a": 9, "c": 9}, 50, {"a"})
    assert one.choose({"a": 9, "c": 9}, 60, {"a"}) == "c"
    one.choose({"a": 9}, 70, {"a"})
    assert one.choose({"a": 9}, 80, {"a"}) == "a", "nothing else is left to do"


def test_the_only_one_with_work_is_tried_on_and_on() -> None:
    one = turns()
    one.choose({"a": 9}, 0)
    assert one.choose({"a": 9}, 100, {"a"}) == "a"


def test_where_none_comes_up_the_one_with_work_stays() -> None:
    one = turns()
    one.choose({"a": 9, "b": 9}, 0)
    assert one.choose({"a": 9, "b": 9}, 100, {"a", "b"}) == "a"


works = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 50))
steps = st.lists(st.tuples(works, st.floats(0.1, 100), st.frozensets(st.sampled_from(NAMES))), max_size=40)


@given(steps)
def test_whoever_is_served_was_chosen_for_a_reason(taken: list[tuple[dict[str, int], float, frozenset[str]]]) -> None:
    one, now, served_now = turns(), 0.0, None
    for work, pause, failing in taken:
        now += pause
        chosen = one.choose(work, now, failing)
        if chosen != served_now:
            assert chosen is not None
            assert work.get(chosen, 0) > 0, "a switch to someone without work"
            if served_now is not None and served_now not in failing:
                assert not work.get(served_now, 0), "a switch away from work"
        served_now = chosen


@dataclass
class Run:
    """Work that one second of serving takes from an endpoint, some of it leaving work for others."""

    work: dict[str, int]
    feeds: dict[str, list[str]]
    pace: int
    load_s: float  # to load a model; nothing is done meanwhile
    switches: list[str] = field(default_factory=list)

    def go(self, one: Turns, patience_s: float) -> float:
        """Seconds until all is done."""
        now, ready_at = 0.0, 0.0
        while any(self.work.values()):
            assert now < patience_s, f"stuck with {self.work} after {self.switches}"
            chosen = one.choose(dict(self.work), now)
            if chosen is not None and self.switches[-1:] != [chosen]:
                self.switches.append(chosen)
                ready_at = now + self.load_s
            if chosen is not None and now >= ready_at:
                done = min(self.pace, self.work.get(chosen, 0))
                self.work[chosen] = self.work.get(chosen, 0) - done
                for fed in self.feeds.get(chosen, ()):
                    self.work[fed] = self.work.get(fed, 0) + done
            now += 1
        return now


@given(st.integers(1, 400), st.integers(1, 60), st.floats(0, 300))
def test_three_generators_and_a_judge_finish_with_one_turn_each(questions: int, pace: int, load_s: float) -> None:
    run = Run(dict.fromkeys("abc", questions), {name: ["judge"] for name in "abc"}, pace, load_s)
    run.go(turns(), 1e6)
    assert run.switches == ["a", "b", "c", "judge"]


@given(works, st.integers(1, 20), st.floats(0, 100))
def test_whatever_there_is_to_do_is_done(work: dict[str, int], pace: int, load_s: float) -> None:
    run = Run(work, {"a": ["judge"], "judge": ["writer"], "writer": ["again"]}, pace, load_s)
    run.go(turns((*NAMES, "writer", "again")), 1e5)
    assert len(run.switches) <= 2 * 6, "it thrashes"


def test_the_order_is_that_of_the_stages() -> None:
    config = served_config(served("judge"), served("g2"), served("g1"))
    assert stage_order(config, ["judge", "g1", "g2", "spare"]) == ["g2", "g1", "judge", "spare"]
    assert stage_order(config, ["judge", "g1"]) == ["g1", "judge"]
