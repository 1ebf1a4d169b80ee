"""A file on disk as lines or as chunks of text, plain or gzip, in constant memory; what is no data file is refused."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from apps.questions.importers.base import FileRefused

MAX_ROW = 2 * 1024 * 1024  # bytes or characters of one row; the longest published one has about 20,000
CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_REFUSED_STARTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the data itself; fetch it with `git lfs pull`",
    b"\xff\xfe": "is UTF-16 or UTF-32; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"\x00\x00\xfe\xff": "is UTF-32; save it as UTF-8",
    b"PK\x03\x04": "is a zip archive; unpack it first",
    b"PAR1": "is a Parquet file; the published form is expected (JSON, JSON Lines or CSV)",
}


class SourceFile:
    """A file to read more than once. Raises FileRefused, also for what only shows while reading (a torn gzip)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._raw: IO[bytes] | None = None
        try:
            if not path.is_file():
                raise FileRefused("there is no such file" if not path.exists() else "is not a regular file", line=0)
            self.size = path.stat().st_size
            with path.open("rb") as raw:
                self.gzipped = raw.read(2) == _GZIP
        except OSError as error:
            raise FileRefused(f"cannot be read: {error.strerror}", line=0) from error
        self._refuse_foreign()

    def position(self) -> int:
        """Bytes of `size` read so far, for a progress bar."""
        return self._raw.tell() if self._raw and not self._raw.closed else 0

    def sha256(self) -> str:
        with self.path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """(line number from 1, the line with its end), None for a line longer than MAX_ROW."""
        number = 0
        with self._reading() as (stream, at):
            while line := stream.readline(MAX_ROW):
                number += 1
                at[0] = number
                if len(line) < MAX_ROW or line.endswith(b"\n"):
                    yield number, line
                    continue
                while rest := stream.readline(MAX_ROW):
                    if rest.endswith(b"\n"):
                        break
                yield number, None

    def chunks(self) -> Iterator[str]:
        """Text of up to CHUNK bytes; a byte that is not UTF-8 becomes a lone surrogate, refused with its row."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        with self._reading() as (stream, at):
            while data := stream.read(CHUNK):
                at[0] += data.count(b"\n")
                if text := decoder.decode(data):
                    yield text
            if rest := decoder.decode(b"", final=True):
                yield rest

    def _refuse_foreign(self) -> None:
        with self._reading() as (stream, _at):
            head = stream.read(64)
        if not head.strip():
            raise FileRefused("is empty")
        for start, reason in _REFUSED_STARTS.items():
            if head.startswith(start):
                raise FileRefused(reason)
        if b"\0" in head[:4]:
            raise FileRefused("starts with NUL bytes: UTF-16 or binary; save it as UTF-8 text")

    @contextmanager
    def _reading(self) -> Iterator[tuple[IO[bytes], list[int]]]:
        """The stream after any byte order mark, and the line reached (for the message when reading breaks)."""
        at = [0]
        with self.path.open("rb") as raw:
            self._raw = raw
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if self.gzipped else raw
            try:
                if stream.read(3) != codecs.BOM_UTF8:
                    stream.seek(0)
                yield stream, at
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise FileRefused(f"the gzip file is damaged or cut short: {error}", line=at[0] + 1) from error
            except OSError as error:
                raise FileRefused(f"cannot be read: {error.strerror or error}", line=at[0] + 1) from error
