"""The lean transport: chat completions over plain aiohttp and orjson, for lanes that make millions of calls.

Speaks to any OpenAI-compatible server (vLLM, OpenAI, Azure, our simulator). One instance belongs to one event loop.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from apps.pipeline.config import SIMULATED, EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from workers.backends import replies

MAX_BODY = 8 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
CONNECT_S = 15
KEEP_ALIVE_S = 4  # below uvicorn's 5 s, so that no request is sent on a connection vLLM is just closing
_NEW_CAP = re.compile(r"(^|/)(o\d|gpt-5)")  # models that refuse `max_tokens`


def configured_url(endpoint: EndpointConfig) -> str:
    """The endpoint's own address; where nothing simulates, `simulated` stays what it is and is refused."""
    return endpoint.base_url


class OpenAICompatible:
    """`apps.pipeline.protocol.Backend` over HTTP. `resolve` says where an endpoint really listens.

    The pool has no limit of its own: the caller keeps `max_in_flight` calls going, and a call that waits for a
    connection would count the wait as the model's latency.
    """

    def __init__(self, resolve: Callable[[EndpointConfig], str] = configured_url) -> None:
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None
        self._targets: dict[EndpointConfig, _Target] = {}

    async def complete(self, request: Request) -> Reply:
        """One attempt. A reply cut at the token cap or without text is a Reply too; the stage decides about it."""
        started = time.perf_counter()
        try:
            target = self._target(request.endpoint)
            status, headers, body = await self._post(target, _encode(request))
            if status != 200:
                raise replies.http_error(status, headers, body, secret=target.secret)
            return replies.read_reply(body, latency_ms=_ms_since(started), secret=target.secret)
        except ModelError as error:
            error.latency_ms = _ms_since(started)
            raise

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, target: _Target, body: bytes) -> tuple[int, replies.Headers, bytes]:
        try:
            async with self._open_session().post(
                target.url, data=body, headers=target.headers, timeout=target.timeout, allow_redirects=False
            ) as response:
                limit = MAX_BODY if response.status == 200 else MAX_ERROR_BODY
                return response.status, response.headers, await _read(response, limit)
        except ModelError:
            raise
        except aiohttp.ConnectionTimeoutError:
            raise ModelError("connection", f"no connection within {target.timeout.sock_connect:g} s") from None
        except TimeoutError:
            raise ModelError("connection", f"no answer within {target.timeout.total:g} s", sent=True) from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise ModelError("refused", f"the request cannot be sent: {type(error).__name__}") from None
        except (aiohttp.ClientError, OSError) as error:
            words = replies.cleaned(f"{type(error).__name__}: {error}", replies.MAX_WORDS)
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise ModelError("connection", words, sent=sent) from None

    def _target(self, endpoint: EndpointConfig) -> _Target:
        target = self._targets.get(endpoint)
        if target is None:
            target = self._targets[endpoint] = _prepare(endpoint, self._resolve(endpoint))
        return target

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                trust_env=False,  # neither proxies nor .netrc credentials are picked up
            )
        return self._session


@dataclass(frozen=True, slots=True)
class _Target:
    """What every request to an endpoint has in common."""

    url: URL
    headers: dict[str, str]
    timeout: aiohttp.ClientTimeout
    secret: str


def _prepare(endpoint: EndpointConfig, base_url: str) -> _Target:
    if base_url == SIMULATED:
        raise ModelError("refused", f"endpoint {endpoint.name}: its models are simulated, and no simulator is running")
    secret = _secret(endpoint)
    headers = {"Content-Type": "application/json", "User-Agent": "reasonmed-workbench"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    return _Target(
        url=URL(f"{base_url.rstrip('/')}/chat/completions"),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s, sock_connect=min(CONNECT_S, endpoint.timeout_s)),
        secret=secret,
    )


def _secret(endpoint: EndpointConfig) -> str:
    name = endpoint.api_key_env
    if not name:
        return ""
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise ModelError("refused", f"endpoint {endpoint.name}: the environment variable {name} holds no key")
    if not (secret.isascii() and secret.isprintable()):
        raise ModelError(
            "refused", f"endpoint {endpoint.name}: the key in {name} has characters that no header may hold"
        )
    return secret


def _encode(request: Request) -> bytes:
    model = request.endpoint.model
    cap = "max_completion_tokens" if _NEW_CAP.search(model) else "max_tokens"
    body: dict[str, Any] = {"model": model, "messages": request.messages, cap: request.max_tokens}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None:
        schema = {"name": "reply", "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ModelError("refused", f"the request cannot be written as JSON: {error}") from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body. A reply over the limit is refused; of an error's body the beginning is enough."""
    content, parts, size = response.content, [], 0
    while not content.at_eof():
        part = await content.readany()
        size += len(part)
        parts.append(part)
        if size > limit:
            response.close()
            if response.status == 200:
                raise ModelError("refused", f"the reply is larger than {limit // 1024 // 1024} MB", status=200)
            break
    return b"".join(parts)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
