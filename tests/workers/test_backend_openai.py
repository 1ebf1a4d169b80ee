"""The lean transport against the simulator and against servers that misbehave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from tests.workers.simulation import FixedKeys, messages
from workers.backends.openai_compatible import OpenAICompatible
from workers.simulated import Simulator, SimulatorConfig, parse_faults

SECRET = "sk-very-secret-7"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def endpoint(**fields: Any) -> EndpointConfig:
    return EndpointConfig(
        **{"name": "one", "base_url": "http://127.0.0.1:9/v1", "model": "sim-qwen2.5-72b", "timeout_s": 20, **fields}
    )


def request_to(target: EndpointConfig, stage: str = "generate", number: int = 0, **fields: Any) -> Request:
    sections = {} if stage == "generate" else {"key": "B", "path": "Final answer: B. Second measure"}
    return Request(
        **{"endpoint": target, "messages": messages(stage, number, **sections), "max_tokens": 4096, **fields}
    )


async def ask(app: web.Application, request: Request) -> Reply:
    """The reply of a server at the request's endpoint, whatever its base_url says."""
    async with TestServer(app) as server:
        backend = OpenAICompatible(resolve=lambda _: str(server.make_url("/v1")))
        try:
            return await backend.complete(request)
        finally:
            await backend.close()


async def failure(app: web.Application, request: Request) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await ask(app, request)
    return caught.value


def simulator(**faults: object) -> web.Application:
    return Simulator(SimulatorConfig(faults=parse_faults(faults)), FixedKeys()).app()


def server(handler: Handler) -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    return app


async def test_a_reply_with_all_that_the_ledger_records():
    reply = await ask(simulator(), request_to(endpoint(base_url="simulated"), seed=1, temperature=0.7, top_p=0.9))

    assert "Final answer: " in reply.text
    assert reply.simulated
    assert (reply.finish_reason, reply.model, reply.tokens_cached) == ("stop", "sim-qwen2.5-72b", 0)
    assert reply.tokens_in > 20
    assert reply.tokens_out > 300


@pytest.mark.parametrize(
    ("faults", "error_class", "status"),
    [
        ({"rate_429": 1, "retry_after_s": 7}, "rate_limit", 429),
        ({"error_500": 1}, "server", 500),
        ({"refuse_400": 1}, "refused", 400),
        ({"cut": 1}, "connection", 0),
        ({"garbled": 1}, "server", 200),
        ({"hang": 1}, "connection", 0),
    ],
)
async def test_each_fault_has_its_error_class(faults, error_class, status):
    timeout = 0.2 if "hang" in faults else 20

    error = await failure(simulator(**faults), request_to(endpoint(timeout_s=timeout)))

    assert (error.error_class, error.status) == (error_class, status)
    assert error.retry_after == (7 if status == 429 else None)
    assert error.latency_ms >= (200 if "hang" in faults else 0)
    assert str(error).startswith(f"{error_class}: ")


@pytest.mark.parametrize("kind", ["empty", "length", "malformed_json", "bad_schema"])
async def test_what_a_stage_must_judge_is_a_reply(kind):
    reply = await ask(simulator(**{kind: 1}), request_to(endpoint(), "verify"))

    assert (reply.text == "") == (kind == "empty")
    assert reply.finish_reason == ("length" if kind == "length" else "stop")


async def test_a_server_that_is_not_there():
    backend = OpenAICompatible()
    with pytest.raises(ModelError) as caught:
        await backend.complete(request_to(endpoint()))
    await backend.close()

    assert caught.value.error_class == "connection"
    assert "127.0.0.1:9" in caught.value.message


async def test_simulated_endpoints_need_a_simulator():
    with pytest.raises(ModelError, match=r"access: .*no simulator is running"):
        await OpenAICompatible().complete(request_to(endpoint(base_url="simulated")))


async def test_the_body_holds_what_was_set_and_nothing_else():
    bodies: list[dict[str, Any]] = []

    async def note(request: web.Request) -> web.Response:
        bodies.append(orjson.loads(await request.read()))
        return web.json_response({"choices": [{"message": {"content": "x"}}]})

    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    await ask(server(note), request_to(endpoint(), max_tokens=9))
    await ask(server(note), request_to(endpoint(), max_tokens=9, temperature=0.0, top_p=1.0, seed=0, schema=schema))
    for model in ("o1", "openai/o3-mini", "gpt-5-mini"):
        await ask(server(note), request_to(endpoint(model=model), max_tokens=9))

    plain, full, *new = bodies
    assert plain == {"model": "sim-qwen2.5-72b", "messages": messages("generate"), "max_tokens": 9}
    strict = {"name": "reply", "strict": True, "schema": schema}
    assert full == {
        **plain,
        "temperature": 0,
        "top_p": 1,
        "seed": 0,
        "response_format": {"type": "json_schema", "json_schema": strict},
    }
    assert all(body["max_completion_tokens"] == 9 and "max_tokens" not in body for body in new)


async def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv("TEST_API_KEY", f" {SECRET}\n")
    caplog.set_level(logging.DEBUG)
    seen: list[str | None] = []

    async def echo(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"error": {"message": f"Incorrect API key provided: {SECRET}."}}, status=401)

    target = endpoint(api_key_env="TEST_API_KEY")
    error = await failure(server(echo), request_to(target))
    cut = await failure(simulator(cut=1), request_to(target))

    assert seen == [f"Bearer {SECRET}"]
    assert error.message == "401: Incorrect API key provided: [key]."
    shown = repr(error) + str(error) + repr(cut) + repr(cut.__context__) + repr(target) + caplog.text
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "holds no key"),
        ("  ", "holds no key"),
        ("a\nb", "no header may hold"),
        ("schlüssel", "no header may hold"),
    ],
)
async def test_a_missing_or_unusable_key_is_refused_before_anything_is_sent(monkeypatch, value, words):
    if value is not None:
        monkeypatch.setenv("TEST_API_KEY", value)

    with pytest.raises(ModelError, match=f"access: endpoint one: .*{words}"):
        await OpenAICompatible().complete(request_to(endpoint(api_key_env="TEST_API_KEY")))


async def test_redirects_are_not_followed():
    followed: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        followed.append(request.path)
        return web.Response(status=307, headers={"Location": "/v1/chat/completions"})

    error = await failure(server(redirect), request_to(endpoint()))

    assert (error.error_class, error.status, len(followed)) == ("refused", 307, 1)


@pytest.mark.parametrize("compressed", [False, True])
async def test_oversized_replies_are_refused(compressed):
    async def flood(request: web.Request) -> web.Response:
        response = web.Response(body=b'{"choices": "' + b"x" * (9 * 1024 * 1024), content_type="application/json")
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        return response

    error = await failure(server(flood), request_to(endpoint()))

    assert (error.error_class, error.message) == ("refused", "the reply is larger than 8 MB")


async def test_of_a_huge_error_the_beginning_is_kept():
    async def flood(request: web.Request) -> web.Response:
        return web.Response(status=503, text="overloaded " * 100_000)

    error = await failure(server(flood), request_to(endpoint()))

    assert error.error_class == "server"
    assert error.message.startswith("503: overloaded overloaded")
    assert len(error.message) == 500


async def test_a_request_that_is_no_json_is_refused():
    with pytest.raises(ModelError, match="refused: the request cannot be written as JSON"):
        await OpenAICompatible().complete(request_to(endpoint(), messages=[{"role": "user", "content": "\ud800"}]))


async def test_connections_are_kept_and_calls_run_side_by_side():
    peers: set[Any] = set()
    together = asyncio.Barrier(8)

    async def meet(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))
        await together.wait()
        return web.json_response({"choices": [{"message": {"content": "x"}}]})

    async with TestServer(server(meet)) as running:
        backend = OpenAICompatible(resolve=lambda _: str(running.make_url("/v1")))
        for _ in range(3):
            await asyncio.wait_for(asyncio.gather(*[backend.complete(request_to(endpoint())) for _ in range(8)]), 10)
        await backend.close()
        await backend.close()

    assert len(peers) == 8
