"""The simulated server speaks the protocol: the openai SDK accepts what it says, whole and streamed."""

from __future__ import annotations

import openai
import pytest

from apps.pipeline.protocol import SIMULATED_FINGERPRINT
from tests.workers.simulation import FixedKeys, Models, messages
from workers.simulated import Faults, SimulatorConfig, start_in_thread


@pytest.fixture(scope="module")
def sdk():
    with start_in_thread(keys=FixedKeys()) as running:
        yield openai.OpenAI(base_url=running.base_url, api_key="none", max_retries=0)


def test_the_sdk_accepts_a_reply(sdk):
    reply = sdk.chat.completions.create(model="sim-qwen2.5-72b", messages=messages("generate"), seed=3, temperature=0.7)

    assert reply.system_fingerprint == SIMULATED_FINGERPRINT
    assert reply.model == "sim-qwen2.5-72b"
    assert reply.choices[0].finish_reason == "stop"
    assert "Final answer: " in reply.choices[0].message.content
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.completion_tokens > 300


def test_a_streamed_reply_says_the_same_as_the_whole_one(sdk):
    asked = {"model": "sim-r1-distill-70b", "messages": messages("generate"), "seed": 3}
    whole = sdk.chat.completions.create(**asked)

    chunks = list(sdk.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert {c.system_fingerprint for c in chunks} == {SIMULATED_FINGERPRINT}


def test_models_are_listed(sdk):
    assert {"sim-qwen2.5-72b", "sim-judge", "sim-writer"} <= {model.id for model in sdk.models.list()}


def test_a_prompt_without_a_stage_is_echoed(sdk):
    reply = sdk.chat.completions.create(model="any", messages=[{"role": "user", "content": "hello"}])

    assert reply.choices[0].message.content == "Simulated reply to: hello"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": messages("translate")}, "no stage 'translate'"),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "user"}]}, "a role and a content"),
        ({"n": 2}, "one reply"),
        ({"extra_body": {"seed": "x"}}, "seed: a number"),
    ],
)
def test_bad_requests_are_refused_in_words(sdk, change, words):
    with pytest.raises(openai.BadRequestError, match=words):
        sdk.chat.completions.create(**{"model": "m", "messages": messages("generate"), **change})


def test_what_is_not_json_is_refused(sdk):
    with pytest.raises(openai.BadRequestError, match="not JSON"):
        sdk.post(
            "/chat/completions", cast_to=object, options={"headers": {"Content-Type": "application/json"}}, content=b"{"
        )


async def test_reasoning_comes_apart_where_the_server_is_told_so():
    asked = {"model": "sim-r1-distill-70b"}
    async with Models() as joined, Models(SimulatorConfig(reasoning_apart=True)) as apart:
        message = (await apart.raw("generate", **asked))["choices"][0]["message"]

        assert (
            await joined.text("generate", **asked)
            == f"<think>\n{message['reasoning_content']}\n</think>\n\n{message['content']}"
        )


async def test_the_token_cap_cuts_the_reply():
    async with Models() as models:
        reply = await models.raw("generate", max_tokens=20)

    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 20


async def test_stats_tell_repeated_requests_from_new_ones():
    async with Models() as models:
        for seed in (1, 1, 1, 2, None):
            await models.raw("generate", seed=seed)
        await models.raw("verify", key="B", path="Final answer: B")
        async with models.client.get("/stats") as response:
            stats = await response.json()

    assert stats["by_stage"] == {"generate": {"sim-qwen2.5-72b": 5}, "verify": {"sim-qwen2.5-72b": 1}}
    assert (stats["answered"], stats["distinct"], stats["repeats"], stats["in_flight"]) == (6, 4, 2, 0)
    assert [(r["stage"], r["seed"], r["times"]) for r in stats["repeated"]] == [("generate", 1, 3)]


async def test_faults_are_switched_from_this_machine_and_by_no_web_page():
    async with Models() as models:
        post = models.client.post
        async with post("/faults", json={"error_500": 1, "stages": {"verify": {"empty": 1}}}) as response:
            assert response.status == 200
        assert (await models.raw("generate"))["status"] == 500
        assert await models.text("verify", key="B", path="…") == ""
        async with post("/faults", json={}, headers={"Origin": "http://example.org"}) as response:
            assert response.status == 403
        async with post("/faults", json={"error_500": 2}) as response:
            assert response.status == 400
        assert (await models.raw("generate"))["status"] == 500
        async with post("/faults", json={}) as response:
            assert response.status == 200
        assert (await models.raw("generate"))["status"] == 200
        assert models.simulator.config.faults == Faults()
