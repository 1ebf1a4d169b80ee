"""The `openai` package as a backend, against the simulator and against servers that speak as OpenAI and Azure do."""

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
from workers.backends.bodies import is_reasoning, sent_params
from workers.backends.dispatch import ByTransport
from workers.backends.openai_sdk import OpenAISDK
from workers.simulated import Simulator, SimulatorConfig, parse_faults

SECRET = "sk-very-secret-7"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CHAT = "/v1/chat/completions"
AZURE = {"provider": "azure", "api_version": "2024-10-21", "model": "judge-4o"}


def endpoint(**fields: Any) -> EndpointConfig:
    defaults = {"name": "one", "base_url": "http://127.0.0.1:9/v1", "model": "sim-qwen2.5-72b", "timeout_s": 20}
    return EndpointConfig(**{**defaults, "transport": "sdk", **fields})


def request_to(target: EndpointConfig, stage: str = "generate", **fields: Any) -> Request:
    sections = {} if stage == "generate" else {"key": "B", "path": "Final answer: B. Second measure"}
    return Request(**{"endpoint": target, "messages": messages(stage, 0, **sections), "max_tokens": 4096, **fields})


async def ask(app: web.Application, request: Request, path: str = "/v1") -> Reply:
    """The reply of a server at the request's endpoint, whatever its base_url says."""
    async with TestServer(app) as server:
        backend = OpenAISDK(lambda _: str(server.make_url(path)))
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


def server(handler: Handler, path: str = CHAT) -> web.Application:
    app = web.Application()
    app.router.add_post(path, handler)
    return app


def completion(**usage: Any) -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "model": "m", "usage": usage})


def openai_error(status: int, message: str, code: str | None, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": code or "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


async def o_series(request: web.Request) -> web.Response:
    """Refuses what OpenAI's reasoning models refuse, in OpenAI's words."""
    body = orjson.loads(await request.read())
    if "max_tokens" in body:
        words = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return openai_error(400, words, "unsupported_parameter")
    for name in ("temperature", "top_p", "seed"):
        if name in body:
            words = f"Unsupported value: '{name}' does not support {body[name]} with this model. Only the default (1) value is supported."
            return openai_error(400, words, "unsupported_value")
    details = {"reasoning_tokens": 900}
    return completion(prompt_tokens=10, completion_tokens=1000, completion_tokens_details=details)


async def test_a_reply_with_all_that_the_ledger_records() -> None:
    reply = await ask(simulator(), request_to(endpoint(base_url="simulated"), seed=1, temperature=0.7, top_p=0.9))
    assert "Final answer: " in reply.text
    assert reply.simulated
    assert (reply.finish_reason, reply.model, reply.tokens_cached) == ("stop", "sim-qwen2.5-72b", 0)
    assert (reply.tokens_in or 0) > 20
    assert (reply.tokens_out or 0) > 300


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
async def test_each_fault_has_its_error_class_and_is_sent_once(
    faults: dict[str, float], error_class: str, status: int
) -> None:
    models = Simulator(SimulatorConfig(faults=parse_faults(faults)), FixedKeys())
    timeout = 0.2 if "hang" in faults else 20
    error = await failure(models.app(), request_to(endpoint(timeout_s=timeout)))
    assert (error.error_class, error.status) == (error_class, status)
    assert error.retry_after == (7 if status == 429 else None)
    assert models.tally.received == 1, "the ledger retries, not the package"
    assert error.maybe_billed == (error_class == "connection" or status == 200)


async def test_a_server_that_is_not_there() -> None:
    backend = OpenAISDK(lambda e: e.base_url)
    with pytest.raises(ModelError) as caught:
        await backend.complete(request_to(endpoint()))
    await backend.close()
    assert (caught.value.error_class, caught.value.sent) == ("connection", False)


async def test_a_replica_is_asked_instead_of_the_endpoints_own_address() -> None:
    async with TestServer(simulator()) as replica:
        backend = OpenAISDK(lambda _: "http://127.0.0.1:9/v1")
        reply = await backend.complete(request_to(endpoint(), base_url=str(replica.make_url("/v1"))))
        await backend.close()
    assert reply.simulated


async def test_structured_output_is_asked_for_by_its_schema() -> None:
    bodies: list[dict[str, Any]] = []

    async def note(request: web.Request) -> web.Response:
        bodies.append(orjson.loads(await request.read()))
        return completion()

    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    await ask(server(note), request_to(endpoint(), schema=schema, temperature=0.0, top_p=1.0, seed=0, max_tokens=9))
    strict = {"name": "reply", "strict": True, "schema": schema}
    assert bodies == [
        {
            "model": "sim-qwen2.5-72b",
            "messages": messages("generate"),
            "max_tokens": 9,
            "temperature": 0,
            "top_p": 1,
            "seed": 0,
            "response_format": {"type": "json_schema", "json_schema": strict},
        }
    ]


@pytest.mark.parametrize("fields", [{"model": "o1"}, {"model": "o4-mini"}, {"model": "mine", "style": "reasoning"}])
async def test_reasoning_models_get_what_they_take_and_their_thinking_is_paid(fields: dict[str, str]) -> None:
    reply = await ask(server(o_series), request_to(endpoint(**fields), temperature=0.7, top_p=0.9, seed=3))
    assert (reply.tokens_in, reply.tokens_out) == (10, 1000)


async def test_a_reasoning_model_taken_for_another_says_what_it_refuses() -> None:
    error = await failure(server(o_series), request_to(endpoint(model="o1", style="chat")))
    assert error.error_class == "refused"
    assert error.message.startswith("400: Unsupported parameter: 'max_tokens' is not supported with this model.")


@pytest.mark.parametrize(
    ("model", "reasoning"),
    [
        ("o1", True), ("o3-mini", True), ("openai/o4-mini", True), ("gpt-5-mini", True), ("gpt-6-astra", True),
        ("gpt-4o", False), ("gpt-4o-mini", False), ("gpt-5-chat-latest", False), ("qwen2.5-72b", False), ("demo1", False),
    ],
)  # fmt: skip
def test_reasoning_models_are_known_by_name(model: str, reasoning: bool) -> None:
    assert is_reasoning(endpoint(model=model)) is reasoning
    assert is_reasoning(endpoint(model=model, style="chat")) is False


def test_what_was_sent_is_what_is_recorded() -> None:
    asked = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "max_tokens": 9}
    assert sent_params(request_to(endpoint(), **asked)) == asked
    assert sent_params(request_to(endpoint(model="o1"), **asked)) == {"max_completion_tokens": 9}


async def test_azure_gets_its_deployment_version_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_API_KEY", SECRET)
    seen: list[web.Request] = []

    async def deployment(request: web.Request) -> web.Response:
        seen.append(request)
        return completion(prompt_tokens=9, completion_tokens=1, prompt_tokens_details={"cached_tokens": 8})

    app = server(deployment, "/openai/deployments/{name}/chat/completions")
    target = endpoint(api_key_env="AZURE_API_KEY", **AZURE)
    reply = await ask(app, request_to(target), path="")
    await ask(app, request_to(target), path="/openai")
    assert [r.match_info["name"] for r in seen] == ["judge-4o"] * 2
    assert seen[0].query["api-version"] == "2024-10-21"
    assert seen[0].headers["api-key"] == SECRET
    assert "Authorization" not in seen[0].headers
    assert reply.tokens_cached == 8


async def test_only_the_endpoints_own_key_leaves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what the package would take from the environment nor what it would tell about this machine."""
    caplog.set_level(logging.DEBUG)
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", f"surprise-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer surprise\nX-Extra: surprise")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/surprise")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TEST_API_KEY", SECRET)
    seen: list[dict[str, str]] = []

    async def echo(request: web.Request) -> web.Response:
        seen.append({k.lower(): v for k, v in request.headers.items()})
        return openai_error(401, f"Incorrect API key provided: {SECRET}.", "invalid_api_key")

    error = await failure(server(echo), request_to(endpoint(api_key_env="TEST_API_KEY")))
    await failure(server(echo), request_to(endpoint()))
    assert error.message == "401: Incorrect API key provided: [key]."
    with_key, without = seen
    assert with_key["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in without
    assert set(with_key) == set(without) | {"authorization"}
    assert not any("surprise" in value or name.startswith("x-") for name, value in with_key.items())
    assert with_key["user-agent"] == "reasonmed-workbench"
    assert SECRET not in repr(error) + caplog.text


async def test_a_missing_key_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ModelError, match=r"access: endpoint one: .*TEST_API_KEY holds no key"):
        await OpenAISDK(lambda e: e.base_url).complete(request_to(endpoint(api_key_env="TEST_API_KEY")))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m3s"}, 63),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "1m3s"}, None),
    ],
)
async def test_the_server_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    async def limited(request: web.Request) -> web.Response:
        return openai_error(429, "Rate limit reached for gpt-4o in organization org-1", "rate_limit_exceeded", headers)

    error = await failure(server(limited), request_to(endpoint()))
    assert (error.error_class, error.retry_after) == ("rate_limit", seconds)


@pytest.mark.parametrize("transport", ["lean", "sdk"])
async def test_an_account_without_money_is_not_asked_again(transport: str) -> None:
    words = "You exceeded your current quota, please check your plan and billing details."

    async def broke(request: web.Request) -> web.Response:
        return openai_error(429, words, "insufficient_quota", {"Retry-After": "1"})

    async with TestServer(server(broke)) as running:
        backend = ByTransport(lambda _: str(running.make_url("/v1")))
        with pytest.raises(ModelError) as caught:
            await backend.complete(request_to(endpoint(transport=transport)))
        await backend.close()
    error = caught.value
    assert (error.error_class, error.status, error.retry_after) == ("access", 429, None)
    assert error.message == f"429: {words}"


async def test_redirects_are_not_followed() -> None:
    followed: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        followed.append(request.path)
        return web.Response(status=307, headers={"Location": CHAT})

    error = await failure(server(redirect), request_to(endpoint()))
    assert (error.error_class, error.status, len(followed)) == ("refused", 307, 1)


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("compressed", [False, True])
async def test_a_flood_is_cut_short(status: int, compressed: bool) -> None:
    async def flood(request: web.Request) -> web.Response:
        response = web.Response(status=status, body=b'{"x": "' + b"overloaded " * 1_000_000)
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        return response

    error = await failure(server(flood), request_to(endpoint()))
    assert error.error_class == ("refused" if status == 200 else "server")
    assert len(error.message) <= 500


async def test_text_that_no_body_can_hold_is_refused() -> None:
    error = await failure(simulator(), request_to(endpoint(), messages=[{"role": "user", "content": "\ud800"}]))
    assert error.error_class == "refused"


async def test_calls_run_side_by_side_on_connections_that_are_kept() -> None:
    peers: set[Any] = set()
    together = asyncio.Barrier(8)

    async def meet(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        await together.wait()
        return completion()

    async with TestServer(server(meet)) as running:
        backend = OpenAISDK(lambda _: str(running.make_url("/v1")))
        for _ in range(3):
            await asyncio.wait_for(asyncio.gather(*[backend.complete(request_to(endpoint())) for _ in range(8)]), 20)
        await backend.close()
    assert len(peers) == 8


async def test_each_endpoint_goes_through_its_own_transport() -> None:
    async with TestServer(simulator()) as running:
        backend = ByTransport(lambda _: str(running.make_url("/v1")))
        replies = [await backend.complete(request_to(endpoint(transport=name))) for name in ("lean", "sdk")]
        with pytest.raises(ModelError, match=r"refused: no single calls .* 'batch'"):
            await backend.complete(request_to(endpoint(transport="batch")))
        await backend.close()
    assert replies[0].text == replies[1].text
