"""The lean transport: chat completions over plain aiohttp and orjson, for lanes that make millions of calls.

Speaks to any OpenAI-compatible server (vLLM, OpenAI, Azure, our simulator). One instance belongs to one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import orjson
from yarl import URL

from apps.pipeline.config import SIMULATED, EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from workers.backends import replies
from workers.backends.bodies import chat_body, secret_of

MAX_BODY = 8 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
CONNECT_S = 15
KEEP_ALIVE_S = 4  # below uvicorn's 5 s, so that no request is sent on a connection vLLM is just closing


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
        self._targets: dict[tuple[EndpointConfig, str], _Target] = {}

    async def complete(self, request: Request) -> Reply:
        """One attempt. A reply cut at the token cap or without text is a Reply too; the stage decides about it."""
        started = time.perf_counter()
        try:
            target = self._target(request)
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

    def _target(self, request: Request) -> _Target:
        endpoint = request.endpoint
        target = self._targets.get((endpoint, request.base_url))
        if target is None:
            target = _prepare(endpoint, request.base_url or self._resolve(endpoint))
            self._targets[endpoint, request.base_url] = target
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
        raise ModelError("access", f"endpoint {endpoint.name}: its models are simulated, and no simulator is running")
    secret = secret_of(endpoint)
    headers = {"Content-Type": "application/json", "User-Agent": "reasonmed-workbench"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    return _Target(
        url=URL(f"{base_url.rstrip('/')}/chat/completions"),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s, sock_connect=min(CONNECT_S, endpoint.timeout_s)),
        secret=secret,
    )


def _encode(request: Request) -> bytes:
    try:
        return orjson.dumps(chat_body(request))
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
