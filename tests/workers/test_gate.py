"""Concurrency and circuit breakers by themselves, on a clock set by hand."""

from __future__ import annotations

import random
import threading

import pytest

from workers.limits.breaker import PROBED_S, Breaker, Failures, Refusals
from workers.limits.concurrency import Concurrency
from workers.limits.gate import Gate

HOME = ("http://a/v1",)


def failing(breaker: Breaker, times: int, now: float) -> bool:
    opened = False
    for _ in range(times):
        opened = breaker.failed(now, now) or opened
    return opened


def test_five_failures_in_a_row_open_it_and_one_success_closes_it():
    breaker = Breaker(Failures())
    assert not failing(breaker, 4, 100.0)
    assert failing(breaker, 1, 100.0)
    assert breaker.state(100.0) == "open"
    assert 0.8 <= breaker.wait(100.0) <= 1.2
    assert breaker.state(102.0) == "half-open"
    assert breaker.wait(102.0) == 0
    breaker.probe(102.0)
    assert breaker.wait(102.1) > 0, "one call is enough to find out"
    assert breaker.succeeded(102.0)
    assert breaker.state(102.1) == "closed"


def test_pauses_double_up_to_half_a_minute():
    breaker, now, pauses = Breaker(Failures()), 0.0, []
    failing(breaker, 5, now)
    for _ in range(8):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        breaker.probe(now)
        assert breaker.failed(now, now + 0.1)
        now += 0.1
    for pause, due in zip(pauses, (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert 0.8 * due <= pause <= 1.2 * due


def test_outcomes_of_calls_sent_before_it_opened_say_nothing():
    breaker = Breaker(Failures())
    failing(breaker, 5, 100.0)
    assert not breaker.failed(99.0, 101.0)
    assert not breaker.succeeded(99.0)
    assert breaker.state(100.5) == "open"
    assert breaker.wait(100.0) <= 1.2, "the pause does not grow with what was in flight"


def test_failures_among_many_successes_open_nothing():
    breaker = Breaker(Failures())
    for _ in range(20):
        breaker.succeeded(0.0)
    assert not failing(breaker, 5, 0.0)
    assert failing(breaker, 15, 0.0)


def test_a_probe_given_up_lets_another_follow_and_one_that_lasts_closes_it():
    breaker = Breaker(Failures())
    failing(breaker, 5, 0.0)
    breaker.probe(2.0)
    breaker.abandon(2.0)
    assert breaker.wait(2.1) == 0
    breaker.probe(2.1)
    assert breaker.wait(2.1 + PROBED_S - 1) > 0
    assert breaker.wait(2.2 + PROBED_S) == 0
    assert breaker.state(2.2 + PROBED_S) == "closed"


def test_three_429s_in_ten_open_nothing_and_most_do():
    """Also where the 429s of 64 calls sent together come before their other replies."""
    dice, refused = random.Random(1), Refusals()
    breaker = Breaker(refused)
    for _ in range(500):
        calls = [dice.random() < 0.3 for _ in range(64)]
        for _ in calls:
            refused.count_sent()
        assert not any(breaker.failed(0.0, 0.0) for call in calls if call)
        for _ in range(64 - sum(calls)):
            breaker.succeeded(0.0)
    sent = 0
    while not breaker.failed(0.0, 0.0, pause=7.0):
        refused.count_sent()
        sent += 1
    assert sent < 350
    assert breaker.wait(0.0) == 7.0


def run_server(concurrency: Concurrency, seconds: float, *, takes: int = 10**6, random_share: float = 0.0) -> list[int]:
    """Calls of 1 s each at the limit, refused at random or beyond what the server takes; the limit each second."""
    dice, limits, now = random.Random(2), [], 0.0
    while now < seconds:
        for number in range(concurrency.limit):
            concurrency.count_sent()
            if number >= takes or dice.random() < random_share:
                concurrency.refused(now)
            else:
                concurrency.accepted(now + 1.0, 1.0)
        now += 1.0
        limits.append(concurrency.limit)
    return limits


def test_random_429s_do_not_shrink_it():
    limits = run_server(Concurrency(64), 600, random_share=0.3)
    assert sum(limits) / len(limits) > 0.85 * 64


@pytest.mark.parametrize("takes", [4, 20, 50])
def test_it_settles_at_what_the_server_takes(takes):
    limits = run_server(Concurrency(128), 900, takes=takes)[300:]
    assert 0.7 * takes <= sum(limits) / len(limits) <= 1.3 * takes + 1


def test_it_grows_back_when_the_server_takes_more_again():
    concurrency = Concurrency(64)
    run_server(concurrency, 300, takes=8)
    assert concurrency.limit < 16
    run_server(concurrency, 600)
    assert concurrency.limit == 64


def test_the_ceiling_is_shared_by_the_processes():
    gate = Gate("one", 64)
    gate.set_ceiling(processes=4)
    assert sum(gate.enter(0.0, 0, HOME) is not None for _ in range(100)) == 16
    gate.set_ceiling(processes=100)
    assert gate.share(0, 0) == 1, "at least one call"
    gate.set_ceiling(processes=1)
    assert gate.free(0.0) == 48


def test_a_channel_may_have_what_others_leave_and_an_even_part_at_least():
    gate = Gate("one", 10)
    gate.join(+2)
    assert gate.share(0, 0) == 10
    for _ in range(10):
        gate.enter(0.0, 0, HOME)
    assert gate.share(10, 0) == 10, "nobody else wants any"
    gate.queue(+3)
    assert gate.share(10, 0) == 7
    assert gate.share(0, 3) == 5, "the other's part"


def test_a_refused_calls_place_stays_taken_as_long_as_a_call_takes():
    gate = Gate("one", 1)
    gate.enter(0.0, 0, HOME)
    gate.succeeded(HOME[0], 0.0, 2.0)
    gate.enter(10.0, 0, HOME)
    gate.refused(HOME[0], 10.0, 10.1, 1.0)
    assert gate.enter(11.9, 0, HOME) is None
    assert gate.enter(12.1, 0, HOME) == HOME[0]


def test_what_it_says_of_itself():
    gate = Gate("one", 4)
    gate.enter(0.0, 0, HOME)
    for _ in range(5):
        gate.enter(0.0, 0, HOME)
        gate.failed(HOME[0], 0.0, 0.0, "no connection")
    said = gate.describe(0.5)
    assert said == {
        "limit": 4,
        "in_flight": 1,
        "share_429": 0.0,
        "state_429": "closed",
        "addresses": {HOME[0]: "open"},
    }
    assert gate.enter(0.5, 0, HOME) is None
    assert gate.closed(0.5, HOME)[0].startswith("connection")


def test_threads_lose_no_call():
    gate = Gate("one", 1000)

    def work() -> None:
        for _ in range(3000):
            address = gate.enter(0.0, 0, HOME)
            assert address is not None
            gate.succeeded(address, 0.0, 0.0)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.in_flight == 0
