"""The channel in virtual time: what reaches a server that refuses, dies, comes back, or allows only so much."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from apps.pipeline.protocol import HeldBackError, ModelError, Request
from tests.workers.virtual import (
    START,
    Bucket,
    Server,
    VirtualRates,
    away,
    channel_to,
    endpoint,
    in_db,
    most_in,
    most_tokens_in,
    now,
    pump,
    run_virtually,
    too_many,
)
from workers.channel import Channel
from workers.limits import rates
from workers.limits.breaker import LONGEST_PAUSE_S
from workers.limits.gate import gate_for

MINUTE = 60.0


@pytest.fixture(autouse=True)
def ledger(monkeypatch: pytest.MonkeyPatch) -> VirtualRates:
    virtual = VirtualRates()
    monkeypatch.setattr(rates, "take", virtual.take)
    monkeypatch.setattr(rates, "block", virtual.block)
    monkeypatch.setattr(rates, "blocked_for", virtual.blocked_for)
    monkeypatch.setattr(rates, "processes_on", lambda name: 1)
    return virtual


def request_to(target, affinity: int = 0) -> Request:
    return Request(target, [{"role": "user", "content": "x"}], 100, affinity=affinity)


def test_without_limits_nothing_is_asked_of_the_ledger(ledger):
    server = Server()
    outcome = run_virtually(pump(channel_to(server), endpoint(), 500))

    assert outcome.done == 500
    assert (outcome.held, ledger.asked, ledger.rows) == (0, 0, {})
    assert {address for _, address, _ in server.arrived} == {""}


@pytest.mark.slow
@pytest.mark.parametrize("latency", [0.05, 2.0])
def test_three_in_ten_429s_do_not_stall(latency):
    dice = random.Random(5)
    server = Server(latency, fault=lambda address, passed: too_many() if dice.random() < 0.3 else None)

    outcome = run_virtually(pump(channel_to(server), endpoint(max_in_flight=64), 10**6, until=40))

    possible = 64 / latency * 40 * 0.7
    assert outcome.done > 0.4 * possible
    assert outcome.failed / len(server.arrived) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("takes", "in_vain"), [(4, 0.4), (16, 0.1)])
def test_a_server_that_takes_fewer_at_once_is_found_out(takes, in_vain):
    server = Server(latency=1.0, takes=takes)

    outcome = run_virtually(pump(channel_to(server), endpoint(max_in_flight=128), 10**6, until=5 * MINUTE))

    assert outcome.done > 0.8 * takes * 5 * MINUTE
    sent = sum(time > START + MINUTE for time, _, _ in server.arrived)
    taken = sum(time > START + MINUTE for time, _ in server.answered)
    assert sent - taken < in_vain * sent, "once it is known, few are sent in vain"


def test_a_providers_limit_that_nobody_configured_is_found_out():
    server = Server(latency=0.5, fault=Bucket(500))
    outcome = run_virtually(pump(channel_to(server), endpoint(max_in_flight=64), 10**6, until=3 * MINUTE))
    assert outcome.done > 0.8 * 500 * 3
    assert max(outcome.attempts) < 3 * 20, "far from what sets a question aside"


def test_all_429_is_answered_with_silence():
    """Nobody hammers a provider that refuses everything; and it is noticed when it takes calls again."""
    server = Server(fault=lambda address, passed: too_many() if passed < 2 * MINUTE else None)

    outcome = run_virtually(pump(channel_to(server), endpoint(), 2000))

    assert outcome.done == 2000
    assert sum(time - START < 2 * MINUTE for time, _, _ in server.arrived) < 64 + 30
    longest_pause = 1.2 * LONGEST_PAUSE_S  # with its jitter
    assert server.arrived[-1][0] - START < 2 * MINUTE + longest_pause + 1 + 2000 / 64 * 0.5
    assert max(outcome.attempts) <= 8


def test_a_block_reaches_the_other_hosts(ledger):
    server = Server(fault=lambda address, passed: too_many(retry_after=20.0))
    target = endpoint(requests_per_minute=600)
    ledger_key = target.limit_key

    async def main() -> None:
        await pump(channel_to(server), target, 100, until=10)
        assert 0 < ledger.blocked_for(ledger_key) <= 30
        gate_for(target)._refusals.hold(now(), 0)  # another process: it knows nothing yet
        other = Server()
        channel = channel_to(other)
        with pytest.raises(HeldBackError, match="429") as held:
            await channel.send(request_to(target))
        assert held.value.retry_in > 2
        assert other.arrived == []
        await channel.close()

    run_virtually(main())


@pytest.mark.slow
def test_an_endpoint_dead_for_two_minutes_costs_no_question():
    server = Server(fault=lambda address, passed: away() if 5 < passed < 5 + 2 * MINUTE else None)

    outcome = run_virtually(pump(channel_to(server), endpoint(), 10_000))

    assert outcome.done == 10_000
    while_dead = [time - START for time, _, _ in server.arrived if 6 < time - START < 5 + 2 * MINUTE]
    assert len(while_dead) <= 10, "one call now and then finds out"
    assert outcome.failed <= 64 + 20 + len(while_dead), "what was in flight, and what showed that it is dead"
    assert max(outcome.attempts) <= 4, "far from what sets a question aside"
    first_after = next(time for time, _, _ in server.arrived if time - START >= 5 + 2 * MINUTE)
    assert first_after - START < 5 + 2 * MINUTE + 37


def test_a_single_failure_in_between_closes_nothing():
    dice = random.Random(3)
    server = Server(fault=lambda address, passed: away() if dice.random() < 0.1 else None)
    outcome = run_virtually(pump(channel_to(server), endpoint(), 3000))
    assert (outcome.done, outcome.held) == (3000, 0)


def test_a_slow_answer_after_an_outage_does_not_keep_the_others_waiting():
    """The call that finds out may take minutes to be answered; that it does not fail is enough."""

    def fault(address: str, passed: float) -> ModelError | None:
        return away() if passed < 10 else None

    server = Server(latency=300, fault=fault)
    run_virtually(pump(channel_to(server), endpoint(), 100, until=60))
    assert sum(time - START > 10 for time, _, _ in server.arrived) >= 64


def test_a_dead_endpoint_does_not_hold_up_another():
    server = Server(fault=lambda address, passed: away() if address.startswith("http://127.0.0.1:1/") else None)
    dead = endpoint(name="dead", base_url="http://127.0.0.1:8/v1", replicas=("http://127.0.0.1:1/v1",))

    async def main() -> None:
        channel = Channel(
            "generate@x",
            server,
            in_db,
            lambda: False,
            lambda e: ["http://127.0.0.1:1/v1"] if e is dead else [e.base_url],
            now,
        )
        for _ in range(5):
            with pytest.raises(ModelError):
                await channel.send(request_to(dead))
        assert not channel.open
        assert 0 < channel.retry_in <= 1.2
        await channel.send(request_to(endpoint()))
        assert channel.open
        await channel.close()

    run_virtually(main())


def test_who_waits_is_turned_away_when_the_worker_stops():
    stopping = False

    async def main() -> float:
        nonlocal stopping
        channel = channel_to(Server(), lambda: stopping)
        target = endpoint(requests_per_minute=1)
        await channel.send(request_to(target))
        second = asyncio.create_task(channel.send(request_to(target)))
        await asyncio.sleep(5)
        stopping = True
        asked = now()
        with pytest.raises(HeldBackError, match="stops"):
            await second
        await channel.close()
        return now() - asked

    assert run_virtually(main()) <= 0.3


def test_who_gets_no_turn_goes_back_after_half_a_minute():
    async def main() -> None:
        channel = channel_to(Server())
        target = endpoint(requests_per_minute=1)
        await channel.send(request_to(target))
        with pytest.raises(HeldBackError, match="no turn"):
            await channel.send(request_to(target))
        assert 29 < now() - START < 32
        await channel.close()

    run_virtually(main())


def test_a_served_endpoint_without_a_server_is_waited_for():
    async def main() -> None:
        ready: list[str] = []
        channel = Channel("generate@one", Server(), in_db, lambda: False, lambda e: list(ready), now)
        with pytest.raises(HeldBackError, match="no server of endpoint one is ready"):
            await channel.send(request_to(endpoint()))
        assert not channel.open
        ready.append("http://127.0.0.1:1/v1")
        await asyncio.sleep(1.1)
        assert channel.open, "it is looked for without anything being sent"
        await channel.send(request_to(endpoint()))
        await channel.close()

    run_virtually(main())


@pytest.mark.slow
@pytest.mark.parametrize("per_minute", [7, 60, 600, 3000])
def test_requests_a_minute_hold_in_any_window(ledger, per_minute):
    server = Server(latency=0.5)
    target = endpoint(requests_per_minute=per_minute, max_in_flight=256)

    run_virtually(pump(channel_to(server), target, 10**6, until=100))

    times = [time for time, _, _ in server.arrived]
    assert most_in(times, MINUTE) <= per_minute * 1.02
    assert len(times) >= 0.93 * per_minute * 100 / MINUTE, "the limit is made use of"
    assert ledger.asked <= 100 * 2.5, "about one question a second, not one a call"


def test_two_pumps_share_a_limit_and_both_get_on():
    target = endpoint(requests_per_minute=300, max_in_flight=64)
    servers = [Server(latency=0.5), Server(latency=1.0)]

    async def main() -> None:
        await asyncio.gather(*(pump(channel_to(server), target, 10**6, until=2 * MINUTE) for server in servers))

    run_virtually(main())
    times = sorted(time for server in servers for time, _, _ in server.arrived)
    assert most_in(times, MINUTE) <= 306
    assert len(times) >= 0.93 * 600
    assert min(len(server.arrived) for server in servers) >= 100


def test_two_pumps_without_limits_share_the_calls_in_flight():
    target = endpoint(max_in_flight=16)
    servers = [Server(latency=1.0), Server(latency=1.0)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while now() < START + MINUTE:
            most = max(most, sum(server.at_once for server in servers))
            await asyncio.sleep(0.05)

    async def main() -> None:
        await asyncio.gather(watch(), *(pump(channel_to(server), target, 10**6, until=MINUTE) for server in servers))

    run_virtually(main())
    assert most == 16
    assert min(len(server.answered) for server in servers) > 0.35 * sum(len(server.answered) for server in servers)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["steady", "wild"])
def test_tokens_hold_in_ten_minutes(size):
    dice = random.Random(11)
    tokens = (lambda: 200) if size == "steady" else (lambda: int(min(1000, dice.expovariate(1 / 200))))
    server = Server(latency=5.0, tokens=tokens)
    target = endpoint(tokens_per_minute=20_000, max_in_flight=256)

    run_virtually(pump(channel_to(server), target, 10**6, until=15 * MINUTE))

    assert most_tokens_in(sorted(server.answered), 10 * MINUTE) <= 200_000 * 1.05
    assert sum(used for _, used in server.answered) >= 0.85 * 20_000 * 15, "the limit is made use of"


def test_replicas_each_keep_their_questions():
    addresses = tuple(f"http://127.0.0.1:{port}/v1" for port in range(1, 4))
    target = endpoint(base_url=addresses[0], replicas=addresses[1:], max_in_flight=12)
    server = Server()

    async def main() -> None:
        channel = channel_to(server)
        for _ in range(9):
            await asyncio.gather(*(channel.send(request_to(target, affinity)) for affinity in range(12)))
        await channel.close()

    run_virtually(main())
    at = defaultdict(list)
    for _, address, affinity in server.arrived:
        at[affinity].append(address)
    kept = sum(max(places.count(place) for place in places) for places in at.values())
    assert kept >= 0.75 * len(server.arrived)
    assert len({address for _, address, _ in server.arrived}) == 3


@pytest.mark.slow
def test_a_dead_replicas_questions_move_and_come_back():
    addresses = tuple(f"http://127.0.0.1:{port}/v1" for port in range(1, 4))
    target = endpoint(base_url=addresses[0], replicas=addresses[1:], max_in_flight=24)
    dead = addresses[1]
    server = Server(fault=lambda address, passed: away() if address == dead and 20 < passed < 80 else None)

    outcome = run_virtually(pump(channel_to(server), target, 10**6, until=160))

    def calls(since: float, to: float) -> int:
        return sum(address == dead and since < time - START < to for time, address, _ in server.arrived)

    assert calls(0, 20) > 300
    assert calls(22, 80) < 10
    assert calls(120, 140) > 300
    assert outcome.held == 0, "the others go on meanwhile"
    assert max(outcome.attempts) <= 2, "the next attempt goes elsewhere"


def test_the_next_attempt_goes_to_another_replica_at_once():
    addresses = tuple(f"http://127.0.0.1:{port}/v1" for port in range(1, 4))
    target = endpoint(base_url=addresses[0], replicas=addresses[1:])

    async def main() -> None:
        server = Server()
        channel = channel_to(server)
        await channel.send(request_to(target, 5))
        home = server.arrived[0][1]
        server.fault = lambda address, passed: away() if address == home else None
        with pytest.raises(ModelError):
            await channel.send(request_to(target, 5))
        await channel.send(request_to(target, 5))
        assert server.arrived[-1][1] != home
        await channel.close()

    run_virtually(main())


def test_a_moment_that_passed_is_not_used_late(ledger):
    """The loop was busy elsewhere: what was granted meanwhile is lost, and asked for again."""
    target = endpoint(requests_per_minute=40, max_in_flight=64)

    async def main() -> None:
        server = Server()
        channel = channel_to(server)
        loop = asyncio.get_running_loop()
        loop.call_later(20.9, lambda: setattr(loop.clock, "passed", loop.clock.passed + 5))
        flying = [asyncio.create_task(channel.send(request_to(target))) for _ in range(18)]
        await asyncio.gather(*flying, return_exceptions=True)
        assert len(server.arrived) > 15
        times = [time for time, _, _ in server.arrived]
        assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
        await channel.close()

    run_virtually(main())


def test_who_is_cancelled_just_when_its_turn_comes_gives_the_place_back(monkeypatch):
    async def main() -> None:
        target = endpoint(max_in_flight=1)
        channel = channel_to(Server(latency=1))
        door = channel.watch(target)
        first = asyncio.create_task(channel.send(request_to(target)))
        second = asyncio.create_task(channel.send(request_to(target)))
        await asyncio.sleep(0.1)
        let_in = door._let_first_in

        def let_in_and_cancel(at: float, cost: int) -> bool:
            let = let_in(at, cost)
            if let:
                second.cancel()
            return let

        monkeypatch.setattr(door, "_let_first_in", let_in_and_cancel)
        await asyncio.gather(first, second, return_exceptions=True)
        assert second.cancelled()
        assert gate_for(target).in_flight == 0
        await channel.close()

    run_virtually(main())


def test_a_cancelled_call_leaves_nothing_behind():
    async def main() -> None:
        channel, target = channel_to(Server(latency=10)), endpoint(max_in_flight=1)
        flying = [asyncio.create_task(channel.send(request_to(target))) for _ in range(3)]
        await asyncio.sleep(1)
        gate = gate_for(target)
        assert (gate.in_flight, gate.waiting) == (1, 2)
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        await asyncio.sleep(1)
        await channel.close()
        assert (gate.in_flight, gate.waiting, gate.members) == (0, 0, 0)

    run_virtually(main())


def test_an_error_of_the_ledger_reaches_the_callers(monkeypatch):
    def broken(*args: object) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(rates, "take", broken)

    async def main() -> None:
        channel = channel_to(Server())
        with pytest.raises(RuntimeError, match="no database"):
            await channel.send(request_to(endpoint(requests_per_minute=5)))
        await channel.close()

    run_virtually(main())
