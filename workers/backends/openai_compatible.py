"""The lean transport: chat completions over a plain HTTP client and orjson, for lanes that make millions of calls.

Speaks to any OpenAI-compatible server (vLLM, OpenAI, Azure, our simulator). One instance belongs to one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from yarl import URL

from apps.pipeline.config import SIMULATED, EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from workers.backends import replies
from workers.backends.bodies import chat_body, secret_of
from workers.backends.http import ConnectTimeoutError, Http, HttpError, Target, make_target
from workers.backends.http_replies import Response

MAX_BODY = 8 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
CONNECT_S = 15


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
        self._http = Http()
        self._targets: dict[tuple[EndpointConfig, str], _Target] = {}

    async def complete(self, request: Request) -> Reply:
        """One attempt. A reply cut at the token cap or without text is a Reply too; the stage decides about it."""
        started = time.perf_counter()
        try:
            target = self._target(request)
            response = await self._post(target, _encode(request))
            if response.status != 200:
                raise replies.http_error(response.status, response.headers, response.body, secret=target.secret)
            return replies.read_reply(response.body, latency_ms=_ms_since(started), secret=target.secret)
        except ModelError as error:
            error.latency_ms = _ms_since(started)
            raise

    async def close(self) -> None:
        await self._http.close()

    async def _post(self, target: _Target, body: bytes) -> Response:
        try:
            response = await self._http.post(target.http, body, limit=MAX_BODY, limit_of_errors=MAX_ERROR_BODY)
        except ConnectTimeoutError as error:
            raise ModelError("connection", str(error)) from None
        except TimeoutError:
            raise ModelError("connection", f"no answer within {target.http.total_s:g} s", sent=True) from None
        except HttpError as error:
            words = replies.cleaned(str(error), replies.MAX_WORDS)
            raise ModelError("connection", words, sent=error.sent) from None
        if response.cut and response.status == 200:
            raise ModelError("refused", f"the reply is larger than {MAX_BODY // 1024 // 1024} MB", status=200)
        return response

    def _target(self, request: Request) -> _Target:
        endpoint = request.endpoint
        target = self._targets.get((endpoint, request.base_url))
        if target is None:
            target = _prepare(endpoint, request.base_url or self._resolve(endpoint))
            self._targets[endpoint, request.base_url] = target
        return target


@dataclass(frozen=True, slots=True)
class _Target:
    """What every request to an endpoint has in common."""

    http: Target
    secret: str


def _prepare(endpoint: EndpointConfig, base_url: str) -> _Target:
    if base_url == SIMULATED:
        raise ModelError("access", f"endpoint {endpoint.name}: its models are simulated, and no simulator is running")
    secret = secret_of(endpoint)
    headers = {"Content-Type": "application/json", "User-Agent": "reasonmed-workbench"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    try:
        url = URL(f"{base_url.rstrip('/')}/chat/completions")
        http = make_target(url, headers, total_s=endpoint.timeout_s, connect_s=min(CONNECT_S, endpoint.timeout_s))
    except ValueError as error:
        raise ModelError("refused", f"the request cannot be sent: {type(error).__name__}") from None
    return _Target(http, secret)


def _encode(request: Request) -> bytes:
    try:
        return orjson.dumps(chat_body(request))
    except TypeError as error:
        raise ModelError("refused", f"the request cannot be written as JSON: {error}") from None


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
