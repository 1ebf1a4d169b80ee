"""An HTTP/1.1 reply as it comes in, piece by piece. Pure: bytes in, a Response out; ValueError for what is no HTTP."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

MAX_HEAD = 64 * 1024


class Headers(dict[str, str]):
    """By names in any case."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)


@dataclass(slots=True)
class Response:
    """`cut`: the body is longer than was asked for, and ends there."""

    status: int
    headers: Headers
    body: bytes = b""
    cut: bool = False


def parse_head(head: bytes) -> Response:
    """Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (
        status.isdecimal() and status.isascii() and rest[3:4] in ("", " ")
    ):
        raise ValueError("no status line")
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in value:
            raise ValueError("a header without a name")
        name, value = name.lower(), value.strip()
        if name in headers and name in ("content-length", "transfer-encoding"):
            raise ValueError(f"{name} twice")
        headers[name] = value
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Response(int(status), headers)


def stays_open(headers: Headers) -> bool:
    return "close" not in headers.get("connection", "").lower()  # type: ignore[union-attr]


def body_of(response: Response, limit: int) -> Body:
    """Raises ValueError."""
    headers = response.headers
    coding = (headers.get("content-encoding") or "identity").lower()
    if coding not in ("identity", "gzip", "deflate"):
        raise ValueError("its encoding was not asked for")
    body = Body(limit, None if coding == "identity" else zlib.decompressobj(47 if coding == "gzip" else 15))
    transfer, length = headers.get("transfer-encoding"), headers.get("content-length")
    if response.status in (204, 304):
        body.left, body.done = 0, True
    elif transfer is not None:
        if transfer.lower() != "chunked" or length is not None:
            raise ValueError("its length is told in two ways")
        body.chunked = True
    elif length is not None:
        if not (length.isdecimal() and length.isascii() and len(length) < 16):
            raise ValueError("its length is no number")
        body.left = int(length)
        body.done = body.left == 0
    else:
        body.until_closed = True
    return body


@dataclass(slots=True)
class Body:
    """Of known length, in chunks, or all until the connection is closed."""

    limit: int
    decompress: zlib._Decompress | None = None
    left: int = 0  # of the body, or of the chunk
    chunked: bool = False
    until_closed: bool = False
    done: bool = False
    cut: bool = False
    in_trailer: bool = False
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what cannot be read yet, or does not belong to it. Raises ValueError."""
        if self.chunked:
            return self._feed_chunks(data)
        if self.until_closed:
            self._add(data)
            return b""
        taken, rest = data[: self.left], data[self.left :]
        self.left -= len(taken)
        self._add(taken)
        self.done = self.left == 0
        return rest

    def whole(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def _add(self, part: bytes) -> None:
        if self.decompress is not None:
            part = self.decompress.decompress(part, self.limit + 1 - self.size)
        if part:
            self.size += len(part)
            self.parts.append(part)
            self.cut = self.size > self.limit

    def _feed_chunks(self, data: bytes) -> bytes:
        while data and not self.cut and not self.done:
            if self.left > 2:  # the chunk and its line end
                part = data[: self.left - 2]
                self._add(part)
                self.left -= len(part)
                data = data[len(part) :]
                continue
            if self.left:
                if not b"\r\n"[2 - self.left :].startswith(data[: self.left]):
                    raise ValueError("a chunk longer than it says")
                passed = min(self.left, len(data))
                self.left -= passed
                data = data[passed:]
                continue
            line, end, rest = data.partition(b"\r\n")
            if not end:
                if len(data) > MAX_HEAD:
                    raise ValueError("a chunk without a size")
                return data
            data = rest
            self._begin_chunk(line)
        return data

    def _begin_chunk(self, line: bytes) -> None:
        if self.in_trailer:
            self.done = not line
            return
        size = line.partition(b";")[0].strip()
        if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise ValueError("a chunk without a size")
        length = int(size, 16)
        self.in_trailer = length == 0
        self.left = length + 2 if length else 0
