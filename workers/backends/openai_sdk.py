"""OpenAI and Azure OpenAI through the `openai` package: their addresses, parameters and errors are its business.

The ledger retries, so the package does not. Nothing is taken from the environment but the endpoint's own key: neither
OPENAI_API_KEY, organisation and extra headers, nor proxies; nothing about this machine is sent along.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from apps.pipeline.config import SIMULATED, EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from workers.backends import replies
from workers.backends.bodies import chat_body, secret_of

MAX_BODY = 8 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
CONNECT_S = 15
KEEP_ALIVE_S = 4
_SENT_HEADERS = frozenset(
    ("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding")
)
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.LocalProtocolError)
_AZURE_TAIL = re.compile(r"(/openai)?(/v1)?$")


class OpenAISDK:
    """`apps.pipeline.protocol.Backend`. One instance belongs to one event loop."""

    def __init__(self, resolve: Callable[[EndpointConfig], str]) -> None:
        self._resolve = resolve
        self._clients: dict[tuple[EndpointConfig, str], tuple[AsyncOpenAI, str]] = {}

    async def complete(self, request: Request) -> Reply:
        """One attempt. A reply cut at the token cap or without text is a Reply too; the stage decides about it."""
        started = time.perf_counter()
        try:
            client, secret = self._client(request)
            body = await _ask(client, request, secret)
            return replies.read_reply(body, latency_ms=_ms_since(started), secret=secret)
        except ModelError as error:
            error.latency_ms = _ms_since(started)
            raise

    async def close(self) -> None:
        for client, _ in self._clients.values():
            await client.close()
        self._clients.clear()

    def _client(self, request: Request) -> tuple[AsyncOpenAI, str]:
        endpoint = request.endpoint
        key = (endpoint, request.base_url)
        if key not in self._clients:
            secret = secret_of(endpoint)
            self._clients[key] = (open_client(endpoint, request.base_url or self._resolve(endpoint), secret), secret)
        return self._clients[key]


def open_client(endpoint: EndpointConfig, base_url: str, secret: str) -> AsyncOpenAI:
    """The package's client for an endpoint that listens at `base_url`. Raises ModelError (refused)."""
    if base_url == SIMULATED:
        raise ModelError("access", f"endpoint {endpoint.name}: its models are simulated, and no simulator is running")
    azure = endpoint.provider == "azure"
    http = httpx2.AsyncClient(transport=_Transport(endpoint, secret), trust_env=False, follow_redirects=False)
    common: dict[str, Any] = {
        "api_key": secret
        or "none",  # an empty one would be looked for in the environment; what is sent, _Transport says
        "admin_api_key": "",
        "organization": "",
        "project": "",
        "webhook_secret": "",
        "max_retries": 0,
        "timeout": httpx2.Timeout(endpoint.timeout_s, connect=min(CONNECT_S, endpoint.timeout_s)),
        "http_client": http,
    }
    if azure:
        resource = _AZURE_TAIL.sub("", base_url.rstrip("/"))
        return AsyncAzureOpenAI(azure_endpoint=resource, api_version=endpoint.api_version, **common)
    return AsyncOpenAI(base_url=base_url, **common)


async def _ask(client: AsyncOpenAI, request: Request, secret: str) -> bytes:
    """The body of a 200. Raises ModelError."""
    body = chat_body(request)
    create: Any = client.chat.completions.with_streaming_response.create
    with_words = translated(request.endpoint, secret)
    async with with_words, asyncio.timeout(request.endpoint.timeout_s), create(**body) as response:
        return await read_capped(response)


async def read_capped(response: Any) -> bytes:
    """A streamed response's decoded body; one larger than MAX_BODY is refused."""
    parts, size = [], 0
    async for part in response.iter_bytes():
        size += len(part)
        if size > MAX_BODY:
            raise ModelError("refused", f"the reply is larger than {MAX_BODY // 1024 // 1024} MB", status=200)
        parts.append(part)
    return b"".join(parts)


class translated:  # noqa: N801 - used like a function
    """A context manager that turns what the package raises into ModelErrors."""

    def __init__(self, endpoint: EndpointConfig, secret: str) -> None:
        self.endpoint = endpoint
        self.secret = secret

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ModelError):
            raise self.translate(error) from None

    def translate(self, error: Exception) -> ModelError:
        if isinstance(error, openai.APIStatusError):
            response = error.response
            return replies.http_error(response.status_code, response.headers, response.content, secret=self.secret)
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
        sent = not isinstance(cause, _NOT_SENT)
        if isinstance(cause, httpx2.ConnectTimeout):
            return ModelError("connection", f"no connection within {min(CONNECT_S, self.endpoint.timeout_s):g} s")
        if isinstance(cause, TimeoutError | httpx2.TimeoutException):
            return ModelError("connection", f"no answer within {self.endpoint.timeout_s:g} s", sent=sent)
        if isinstance(cause, httpx2.DecodingError):
            return ModelError("server", "the reply's body cannot be decompressed", status=200)
        if isinstance(cause, httpx2.TransportError | OSError):
            words = f"{type(cause).__name__}: {cause}".replace(self.secret or "\x00", "[key]")
            return ModelError("connection", replies.cleaned(words, replies.MAX_WORDS), sent=sent)
        return ModelError("refused", f"the request cannot be sent: {type(cause).__name__}")


class _Transport(httpx2.AsyncBaseTransport):
    """What leaves is what is listed here and the endpoint's own key; of an error's body the beginning is enough."""

    def __init__(self, endpoint: EndpointConfig, secret: str) -> None:
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_S)
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False, limits=limits)
        self._own = {"User-Agent": "reasonmed-workbench"}
        if secret:
            azure = endpoint.provider == "azure"
            self._own |= {"api-key": secret} if azure else {"Authorization": f"Bearer {secret}"}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() in _SENT_HEADERS}
        stream = request.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        outgoing = httpx2.Request(
            request.method, request.url, headers=headers | self._own, stream=stream, extensions=request.extensions
        )
        response = await self._inner.handle_async_request(outgoing)
        if response.status_code == 200:
            return response
        return await _shortened(response)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _shortened(response: httpx2.Response) -> httpx2.Response:
    parts, size = [], 0
    try:
        async for part in response.aiter_raw():
            parts.append(part)
            size += len(part)
            if size > MAX_ERROR_BODY:
                break
    finally:
        await response.aclose()
    headers = [(k, v) for k, v in response.headers.raw if k.lower() not in (b"content-length", b"transfer-encoding")]
    content = b"".join(parts)[:MAX_ERROR_BODY]
    return httpx2.Response(response.status_code, headers=headers, content=content, extensions=response.extensions)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
