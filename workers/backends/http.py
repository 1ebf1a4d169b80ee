"""HTTP/1.1 for one purpose: a POST with a JSON body, whose reply is read whole. Connections are kept and used again.

A general client spends most of a short call on what no model server needs (cookies, proxies, redirects, streams): this
one takes two fifths of its time. Whatever a server sends is hostile: sizes are bounded, and a reply that is not plain
HTTP ends its connection.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from yarl import URL

from workers.backends.http_replies import MAX_HEAD, Body, Response, body_of, parse_head, stays_open

KEEP_ALIVE_S = 4  # below uvicorn's 5 s, so that no request is sent on a connection vLLM is just closing


class HttpError(Exception):
    """No reply. `sent`: the server may have had the whole request."""

    def __init__(self, words: str, *, sent: bool) -> None:
        super().__init__(words)
        self.sent = sent


class ConnectTimeoutError(HttpError):
    """No connection in time."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address and the head of every request to it. Times in seconds."""

    host: str
    port: int
    secure: bool
    head: bytes  # up to the number of the body's bytes
    total_s: float
    connect_s: float

    @property
    def place(self) -> tuple[str, int, bool]:
        return self.host, self.port, self.secure


def make_target(url: URL, headers: Mapping[str, str], *, total_s: float, connect_s: float) -> Target:
    """Raises ValueError for what cannot be asked."""
    host = url.raw_host
    if not host or url.port is None or url.scheme not in ("http", "https"):
        raise ValueError("no http address")
    said = {"Host": url.host_port_subcomponent or host, "Accept": "*/*", **headers}
    if any(sign in part for pair in said.items() for part in pair for sign in "\r\n\0"):
        raise ValueError("a header cannot hold line ends")
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
    return Target(host, url.port, url.scheme == "https", head, total_s, connect_s)


class Http:
    """Belongs to one event loop. As many connections as calls at once."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._open: set[Connection] = set()

    async def post(self, target: Target, body: bytes, *, limit: int, limit_of_errors: int) -> Response:
        """Raises HttpError, TimeoutError after `total_s`, OSError where there is no connection."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + target.total_s
        connection = self._take(target) or await self._connect(target)
        answer = connection.ask(target, body, limit, limit_of_errors, max(0.0, deadline - loop.time()))
        try:
            response = await answer
        except BaseException:
            connection.drop()
            raise
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.setdefault(target.place, []).append(connection)
        else:
            connection.drop()
        return response

    async def close(self) -> None:
        for connection in list(self._open):
            connection.drop()
        self._idle.clear()
        await asyncio.sleep(0)  # in which the transports close

    def _take(self, target: Target) -> Connection | None:
        """The one used last: the others grow old and are dropped."""
        idle = self._idle.get(target.place)
        while idle:
            connection = idle.pop()
            if not connection.closed and time.monotonic() - connection.idle_since < KEEP_ALIVE_S:
                return connection
            connection.drop()
        return None

    async def _connect(self, target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(target.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._open), target.host, target.port, ssl=_tls() if target.secure else None
                )
        except TimeoutError:
            raise ConnectTimeoutError(f"no connection within {target.connect_s:g} s", sent=False) from None
        except OSError as error:
            words = f"Cannot connect to {target.host}:{target.port}: {error.strerror or error}"
            raise HttpError(words, sent=False) from None
        return connection


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(slots=True)
class _Reading:
    """A reply on its way."""

    answer: asyncio.Future[Response]
    alarm: asyncio.TimerHandle
    limit: int
    limit_of_errors: int
    response: Response | None = None
    body: Body | None = None


class Connection(asyncio.Protocol):
    def __init__(self, opened: set[Connection]) -> None:
        self._opened = opened
        self._reading: _Reading | None = None
        self._received = b""
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.reusable = False
        self.idle_since = 0.0

    def ask(
        self, target: Target, body: bytes, limit: int, limit_of_errors: int, seconds: float
    ) -> asyncio.Future[Response]:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response] = loop.create_future()
        self._reading = _Reading(answer, loop.call_later(seconds, self._late), limit, limit_of_errors)
        self.reusable = False
        self.transport.write(b"%b%d\r\n\r\n%b" % (target.head, len(body), body))
        return answer

    def drop(self) -> None:
        self.closed = True
        self._opened.discard(self)
        if self._reading is not None:
            self._reading.alarm.cancel()
            self._reading = None
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._opened.add(self)

    def data_received(self, data: bytes) -> None:
        reading = self._reading
        if reading is None:  # nothing was asked for
            self.drop()
            return
        data = self._received + data if self._received else data
        self._received = b""
        try:
            if reading.body is None:
                rest = self._read_head(reading, data)
                if rest is None:
                    return
                data = rest
            self._read_body(reading, data)
        except (ValueError, zlib.error) as error:
            self._fail(HttpError(f"the reply is no HTTP: {error}", sent=True))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._opened.discard(self)
        reading = self._reading
        if reading is None:
            return
        if error is None and reading.body is not None and reading.body.until_closed:
            self._finish(reading, reusable=False)
        else:
            words = (
                f"{type(error).__name__}: {error}"
                if error
                else "the server closed the connection before its reply was whole"
            )
            self._fail(HttpError(words, sent=True))

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        reading = self._reading
        if reading is not None and not reading.answer.done():
            reading.answer.set_exception(error)
        self.drop()

    def _read_head(self, reading: _Reading, data: bytes) -> bytes | None:
        """What follows the head; None while it is not whole. Interim replies (1xx) are passed over."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD:
                if len(data) > MAX_HEAD:
                    raise ValueError("its head is too long")
                self._received = data
                return None
            response = parse_head(data[:end])
            data = data[end + 4 :]
            if response.status >= 200:
                reading.response = response
                limit = reading.limit if response.status == 200 else reading.limit_of_errors
                reading.body = body_of(response, limit)
                return data

    def _read_body(self, reading: _Reading, data: bytes) -> None:
        body = reading.body
        assert body is not None
        self._received = body.feed(data)
        if body.cut:
            self._finish(reading, reusable=False)
        elif body.done:
            response = reading.response
            assert response is not None
            self._finish(reading, reusable=not self._received and not self.closed and stays_open(response.headers))

    def _finish(self, reading: _Reading, *, reusable: bool) -> None:
        assert reading.response is not None
        assert reading.body is not None
        reading.alarm.cancel()
        reading.response.body, reading.response.cut = reading.body.whole(), reading.body.cut
        self._reading = None
        self._received = b""
        self.reusable = reusable
        if not reading.answer.done():
            reading.answer.set_result(reading.response)
