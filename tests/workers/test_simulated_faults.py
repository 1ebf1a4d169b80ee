"""Each fault of the simulated models strikes as named, at its rate, and gives way when the request is repeated."""

from __future__ import annotations

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.simulation import Models, messages
from workers.simulated import FaultError, Faults, SimulatorConfig, parse_faults, start_in_thread
from workers.simulated.faults import KINDS

VERIFY = {"key": "B", "path": "The change settles it.\nFinal answer: B. Second measure"}


def faulty(**faults: object) -> Models:
    return Models(SimulatorConfig(faults=parse_faults(faults)))


@given(st.sampled_from(KINDS[:-1]), st.floats(0.05, 0.95))
def test_a_fault_strikes_at_its_rate(kind, rate):
    rates = parse_faults({kind: rate})

    struck = [rates.draw(identity, 0) for identity in range(600)]

    assert set(struck) <= {kind, None}
    assert abs(sum(s == kind for s in struck) / 600 - rate) < 0.09


def test_repeating_a_request_draws_anew_but_a_refusal_sticks():
    passing, sticking = parse_faults({"error_500": 0.5}), parse_faults({"refuse_400": 0.5})

    assert {passing.draw(1, attempt) for attempt in range(30)} == {"error_500", None}
    assert all(len({sticking.draw(identity, attempt) for attempt in range(10)}) == 1 for identity in range(20))


def test_a_stage_with_rates_of_its_own_has_only_those():
    faults = parse_faults({"hang": 1, "stages": {"verify": {"empty": 1}, "rank": {}}})

    assert [faults.rates(stage).draw(1, 0) for stage in ("generate", "verify", "rank")] == ["hang", "empty", None]
    assert not faults.quiet
    assert Faults().quiet


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"error_500": 1.5}, "error_500"),
        ({"error_500": 0.6, "hang": 0.6}, "more than 1"),
        ({"explode": 1}, "explode"),
        ({"stages": {"verify": {"latency_ms": 3}}}, "stages.verify.latency_ms"),
        ([], "faults"),
    ],
)
def test_unusable_faults_are_named(data, words):
    with pytest.raises(FaultError, match=words):
        parse_faults(data)


def test_delays_keep_to_mean_and_jitter():
    faults = parse_faults({"latency_ms": 100, "jitter_ms": 40})
    delays = [faults.delay_s(identity) for identity in range(500)]

    assert 0.06 <= min(delays) < 0.07
    assert 0.13 < max(delays) <= 0.14
    assert Faults().delay_s(1) == 0


async def test_retrying_gets_through_a_faulty_server():
    async with faulty(rate_429=0.3, error_500=0.3) as models:
        for number in range(20):
            statuses = [(await models.raw("generate", number, seed=1))["status"]]
            while statuses[-1] != 200:
                statuses.append((await models.raw("generate", number, seed=1))["status"])
                assert len(statuses) < 30

        report = models.simulator.tally.report()
    assert set(report["faults"]["generate"]) == {"rate_429", "error_500"}
    assert report["repeats"] == 0
    assert report["answered"] == 20


async def test_malformed_json_breaks_off_and_leaves_plain_text_alone():
    async with faulty(malformed_json=1) as models:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(await models.text("verify", **VERIFY))
        assert "Final answer" in await models.text("generate")


async def test_a_bad_schema_is_json_that_is_not_a_verdict():
    async with faulty(bad_schema=1) as models:
        for number in range(30):
            verdict = orjson.loads(await models.text("verify", number, **VERIFY))
            axes = [verdict.get(axis) for axis in ("correctness", "coherence", "factuality")]
            assert None in axes or verdict["verdict"] != ("Correct" if axes == ["pass"] * 3 else "Error")
        assert orjson.loads(await models.text("rank", **VERIFY))["score"] in (11, -1, "high", None)


async def test_empty_and_cut_texts():
    async with faulty(empty=1, stages={"rank": {"length": 1}}) as models:
        assert await models.text("generate") == ""
        choice = (await models.raw("rank", **VERIFY))["choices"][0]
    assert choice["finish_reason"] == "length"
    assert not choice["message"]["content"].endswith("}")


async def test_a_cut_stream_ends_without_done():
    async with faulty(cut=1) as models:
        body = {"model": "m", "messages": messages("generate"), "stream": True}
        async with models.client.post("/v1/chat/completions", data=orjson.dumps(body)) as response:
            received, broken = await drain(response)

    assert broken
    assert received.count(b"data: ") > 3
    assert b"[DONE]" not in received
    assert b'"finish_reason":"stop"' not in received


async def drain(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """What came, and whether the connection broke before the end."""
    received = b""
    try:
        async for part in response.content.iter_any():
            received += part
    except aiohttp.ClientPayloadError:
        return received, True
    return received, False


def test_a_thread_stops_while_requests_hang_and_its_port_is_free_again():
    running = start_in_thread(SimulatorConfig(faults=Faults(hang=1)))
    port = int(running.base_url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(OSError, match="in use"):
        start_in_thread(port=port)

    running.stop()
    running.stop()

    with start_in_thread(port=port) as again:
        assert again.base_url == running.base_url
