"""The rule of the shared limits for any pattern of requests, in virtual time; and its row, asked by many at once."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.pipeline.models import PumpLease, RateLimit
from tests.workers.virtual import most_in, most_tokens_in
from workers import leases
from workers.limits import rates
from workers.limits.rates import Limits, Standing, grant

MINUTE = 60.0


@dataclass
class Ledger:
    """A row whose time is set by hand."""

    limits: Limits
    now: float = 0.0
    row: Standing = field(default_factory=Standing)
    sent: list[float] = field(default_factory=list)
    blocked: float = 0.0

    def ask(self, costs: list[int], settled: int = 0) -> list[float]:
        self.row = Standing(self.row.request_in, self.row.token_in, self.blocked - self.now)
        self.row, found = grant(self.limits, self.row, costs, settled)
        moments = [self.now + at for at in found.moments]
        self.sent += moments
        return moments

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.row = Standing(self.row.request_in - seconds, self.row.token_in - seconds)


# A rest, then so many questions, so far apart: idle times and rushes follow each other.
phases = st.lists(
    st.tuples(st.floats(0, 90), st.integers(1, 120), st.floats(0.05, 1.5), st.integers(1, 400)), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(per_minute=st.sampled_from([1, 3, 10, 50, 51, 60, 250, 1000, 3000]), phases=phases, lateness=st.floats(0, 0.5))
@example(per_minute=250, phases=[(60, 120, 0.9, 100)], lateness=0.5)
@example(per_minute=1000, phases=[(60, 120, 0.9, 100), (5, 90, 0.5, 400)], lateness=0.3)
def test_no_window_has_two_percent_more_requests(per_minute, phases, lateness):
    """Whoever asks, whenever, for however many; and each request arrives up to half a second late."""
    ledger = Ledger(Limits("k", requests=per_minute))
    dice = random.Random(0)
    for rest, questions, apart, wanted in phases:
        ledger.pass_(rest)
        for _ in range(questions):
            ledger.ask([0] * wanted)
            ledger.pass_(apart)
    assert sorted(ledger.sent) == ledger.sent
    arrived = sorted(moment + dice.uniform(0, lateness) for moment in ledger.sent)
    assert most_in(arrived, MINUTE) <= per_minute * 1.02


@settings(max_examples=40, deadline=None)
@given(phases=phases, largest=st.integers(10, 4000), seed=st.integers(0, 1000))
@example(phases=[(90, 120, 1.5, 40), (0, 120, 1.5, 40), (0, 120, 1.5, 40), (0, 120, 1.5, 40)], largest=300, seed=1)
def test_no_ten_minutes_have_five_percent_more_tokens(phases, largest, seed):
    """What a reply really took, up to a fifth more than was reserved, is settled when the next requests ask."""
    per_minute = 10_000
    ledger, dice = Ledger(Limits("k", tokens=per_minute)), random.Random(seed)
    used: list[tuple[float, int]] = []
    settled = 0
    for rest, questions, apart, wanted in phases:
        ledger.pass_(rest)
        for _ in range(questions):
            costs = [dice.randint(1, largest) for _ in range(min(wanted, 40))]
            moments = ledger.ask(costs, settled)
            taken = [int(cost * dice.uniform(0, 1.2)) for cost in costs[: len(moments)]]
            settled = sum(taken) - sum(costs[: len(moments)])
            used += zip(moments, taken, strict=True)
            ledger.pass_(apart)
    assert most_tokens_in(used, 10 * MINUTE) <= 10 * per_minute * 1.05


def test_a_busy_limit_is_made_use_of():
    ledger = Ledger(Limits("k", requests=600))
    for _ in range(600):
        ledger.ask([0] * 64)
        ledger.pass_(1.0)
    assert len(ledger.sent) / 600 == pytest.approx(600 / 60 / 1.02, rel=0.01)


def test_moments_are_granted_a_second_ahead_and_no_further():
    ledger = Ledger(Limits("k", requests=600))
    assert len(ledger.ask([0] * 64)) == 10
    assert ledger.ask([0]) == []
    ledger.pass_(1.0)
    assert len(ledger.ask([0] * 64)) in (9, 10)


def test_debts_are_paid_before_the_next_request():
    ledger = Ledger(Limits("k", tokens=6000))
    assert ledger.ask([100]) == [0.0]
    assert ledger.ask([100], settled=6000) == []
    ledger.pass_(30)
    assert ledger.ask([100]) == []
    ledger.pass_(33)
    assert len(ledger.ask([100])) == 1


def test_what_was_not_used_comes_back():
    ledger = Ledger(Limits("k", tokens=6000))
    assert len(ledger.ask([6000, 6000])) == 1
    assert ledger.ask([100]) == []
    assert ledger.ask([100], settled=-6000) == [0.0]


def test_nothing_is_granted_while_all_are_to_wait():
    ledger = Ledger(Limits("k", requests=600), blocked=30)
    assert ledger.ask([0]) == []
    ledger.pass_(29.5)
    assert ledger.ask([0]) == [30.0]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_hosts_share_one_row():
    """Ten connections ask at once for three periods of 2 s each: the windows hold, and nearly all of the limit is used."""
    limits = Limits("shared", requests=200, period_s=2.0)
    sent: list[float] = []
    lock = threading.Lock()
    end = time.monotonic() + 3 * limits.period_s

    def host(number: int) -> None:
        dice = random.Random(number)
        try:
            while time.monotonic() < end:
                found = rates.take(limits, [0] * dice.randint(1, 40))
                with lock:
                    sent.extend(found.moments)
                time.sleep(dice.uniform(0.02, 0.1))  # as a pump does between two questions
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        for done in [pool.submit(host, number) for number in range(10)]:
            done.result()
    times = sorted(moment for moment in sent if moment < end)
    assert most_in(times, limits.period_s) <= 200 * 1.02
    assert len(times) >= 0.9 * 3 * 200 / 1.02
    assert RateLimit.objects.count() == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_tokens_of_many_hosts_are_settled_on_one_row():
    """Replies take more or less than was reserved; in the ten periods all hosts together keep to the limit."""
    limits = Limits("tokens", tokens=20_000, period_s=0.5)
    used: list[tuple[float, int]] = []
    lock = threading.Lock()
    start = time.monotonic()
    end = start + 10 * limits.period_s

    def host(number: int) -> None:
        dice, settled = random.Random(number), 0
        try:
            while time.monotonic() < end:
                costs = [dice.randint(50, 300) for _ in range(20)]
                found = rates.take(limits, costs, settled)
                taken = [int(cost * dice.expovariate(1)) for cost in costs[: len(found.moments)]]
                settled = sum(taken) - sum(costs[: len(found.moments)])
                with lock:
                    used.extend(zip(found.moments, taken, strict=True))
                time.sleep(dice.uniform(0.01, 0.05))
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(host, number) for number in range(6)]:
            done.result()
    total = sum(n for at, n in used if at < end)
    assert 0.8 * 200_000 <= total <= 1.05 * 200_000


@pytest.mark.django_db
def test_a_block_holds_for_the_longest_wait_named():
    assert rates.blocked_for("k") == 0
    rates.block("k", 30)
    rates.block("k", 5)
    assert 29 < rates.blocked_for("k") <= 30
    found = rates.take(Limits("k", requests=60), [0])
    assert found.moments == []
    assert 28 < found.retry_in < found.blocked_in <= 30


@pytest.mark.django_db
def test_moments_are_of_this_processs_clock():
    before = time.monotonic()
    (moment,) = rates.take(Limits("k", requests=60), [0]).moments
    assert before <= moment <= time.monotonic()


@pytest.mark.django_db
def test_processes_are_counted_by_the_pumps_of_an_endpoint():
    assert rates.processes_on("judge") == 1
    for lane in ("verify@judge", "rank@judge", "generate@other"):
        leases.claim_pump(lane, 0)
    assert rates.processes_on("judge") == 1
    PumpLease.objects.filter(lane="rank@judge").update(owner="elsewhere:1:1")
    assert rates.processes_on("judge") == 2
