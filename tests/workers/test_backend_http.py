"""Our HTTP client against servers that write any bytes they like, in any pieces."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from workers.backends.http import Connection, ConnectTimeoutError, Http, HttpError, Target, make_target
from workers.backends.http_replies import Response

pytestmark = pytest.mark.filterwarnings("error")
LIMIT, LIMIT_OF_ERRORS = 1000, 100
BODY = b'{"text": "' + b"reasoning " * 40 + b'"}'
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def with_length(body: bytes = BODY, *headers: str) -> bytes:
    said = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}", ""))
    return said.encode() + body


def in_chunks(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Raises IncompleteReadError when the client is gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def saying(*pieces: bytes, close: bool = False) -> Talk:
    """A server that answers every request with these bytes, one piece after the other."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                return

    return talk


class Server:
    """What it was asked, and over how many connections."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0

    async def __aenter__(self) -> Target:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return make_target(URL(f"http://{host}:{port}/v1/chat"), {"X-Key": "k"}, total_s=10, connect_s=5)

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()


async def ask(target: Target, times: int = 1) -> list[Response]:
    http = Http()
    try:
        return [await http.post(target, b"{}", limit=LIMIT, limit_of_errors=LIMIT_OF_ERRORS) for _ in range(times)]
    finally:
        await http.close()


async def answer_of(*pieces: bytes, close: bool = False) -> Response:
    async with Server(saying(*pieces, close=close)) as target:
        return (await ask(target))[0]


@given(
    reply=st.sampled_from(
        [
            with_length(),
            with_length(b""),
            in_chunks(BODY, 7),
            in_chunks(BODY, 400, b"X-Trailer: t\r\n"),
            with_length(gzip.compress(BODY), "Content-Encoding: gzip"),
            b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(),
        ]
    ),
    cuts=st.lists(st.integers(0, 900), max_size=12),
)
def test_a_reply_is_the_same_in_any_pieces(reply: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(cut for cut in cuts if cut < len(reply)), len(reply)})
    pieces = [reply[a:b] for a, b in pairwise(places)]

    async def twice() -> list[Response]:
        server = Server(saying(*pieces))
        async with server as target:
            found = await ask(target, 2)
        assert server.connections == 1, "a whole reply leaves the connection to the next request"
        return found

    for response in asyncio.run(twice()):
        assert (response.status, response.cut) == (200, False)
        assert response.body == (b"" if b"Content-Length: 0\r" in reply else BODY)


async def test_the_request_on_the_wire() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(with_length())

    async with Server(talk) as target:
        await ask(target)
        host = f"{target.host}:{target.port}".encode()
    assert asked == [
        b"POST /v1/chat HTTP/1.1\r\nHost: " + host + b"\r\nAccept: */*\r\nX-Key: k\r\nContent-Length: 2\r\n\r\n{}"
    ]


async def test_a_reply_without_length_ends_with_its_connection() -> None:
    response = await answer_of(b"HTTP/1.0 200 OK\r\n\r\n", BODY[:9], BODY[9:], close=True)
    assert response.body == BODY


async def test_headers_are_found_in_any_case() -> None:
    response = await answer_of(b"HTTP/1.1 429 Too Many\r\nrEtry-aFter: 7\r\nContent-Length: 0\r\n\r\n")
    assert (response.status, response.headers.get("Retry-After"), response.headers.get("x-none")) == (429, "7", None)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
    ],
)
async def test_what_is_no_http_is_an_error(reply: bytes) -> None:
    with pytest.raises(HttpError, match="the reply is no HTTP") as caught:
        await answer_of(reply)
    assert caught.value.sent, "the server may have done the work"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", with_length()[:-1], in_chunks(BODY, 50)[:-3]])
async def test_a_reply_cut_off_is_an_error(said: bytes) -> None:
    with pytest.raises(HttpError, match="closed the connection") as caught:
        await answer_of(said, close=True)
    assert caught.value.sent


@pytest.mark.parametrize(
    "reply",
    [
        with_length(b"x" * (LIMIT + 1)),
        in_chunks(b"x" * (LIMIT + 1), 100),
        with_length(gzip.compress(b"x" * 10_000_000), "Content-Encoding: gzip"),
    ],
)
async def test_a_body_is_read_up_to_its_limit(reply: bytes) -> None:
    response = await answer_of(reply)
    assert response.cut
    assert LIMIT < len(response.body) <= LIMIT + 1 or reply.count(b"x" * 100) == 10


async def test_of_an_error_less_is_read() -> None:
    response = await answer_of(with_length(b"x" * 500).replace(b"200 OK", b"500 No"))
    assert (response.status, response.cut) == (500, True)


async def test_bytes_beyond_a_reply_are_never_taken_for_the_next_one() -> None:
    server = Server(saying(with_length(b"true") + with_length(b"forged")))
    async with server as target:
        assert [response.body for response in await ask(target, 2)] == [b"true", b"true"]
    assert server.connections == 2


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Keep-Alive, Close"])
async def test_a_server_that_wants_to_close_is_asked_anew(header: str) -> None:
    server = Server(saying(with_length(BODY, header)))
    async with server as target:
        assert len(await ask(target, 3)) == 3
    assert server.connections == 3


async def test_a_connection_closed_while_idle_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Connection.connection_lost
    gone = asyncio.Event()
    server = Server(saying(with_length(), close=True))
    async with server as target:
        http = Http()
        monkeypatch.setattr(Connection, "connection_lost", lambda self, error: (lost(self, error), gone.set()))
        for _ in range(3):
            await http.post(target, b"{}", limit=LIMIT, limit_of_errors=LIMIT_OF_ERRORS)
            await gone.wait()
            gone.clear()
        await http.close()
    assert server.connections == 3


async def test_silence_ends_with_the_time_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Server(silent) as target:
        short = make_target(URL(f"http://{target.host}:{target.port}/"), {}, total_s=0.05, connect_s=5)
        with pytest.raises(TimeoutError):
            await ask(short)


async def test_who_is_cancelled_leaves_no_connection_half_read() -> None:
    begun = asyncio.Event()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(with_length()[:-5])
        await writer.drain()
        begun.set()
        await reader.read()

    async with Server(half) as target:
        http = Http()
        call = asyncio.create_task(http.post(target, b"{}", limit=LIMIT, limit_of_errors=LIMIT_OF_ERRORS))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not any(http._idle.values())
        assert not http._open
        await http.close()


async def test_no_connection_says_where() -> None:
    target = make_target(URL("http://127.0.0.1:9/"), {}, total_s=5, connect_s=5)
    with pytest.raises(HttpError, match=r"127\.0\.0\.1:9") as caught:
        await ask(target)
    assert not caught.value.sent
    assert not isinstance(caught.value, ConnectTimeoutError)


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
def test_a_header_cannot_bring_another(value: str) -> None:
    with pytest.raises(ValueError, match="line ends"):
        make_target(URL("http://host/"), {"Authorization": value}, total_s=1, connect_s=1)
