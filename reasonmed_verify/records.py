"""The records of a data file as the bytes that are hashed, one at a time, whatever the file's format."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

MAX_LINE = 64 * 1024 * 1024  # bytes; a longer line is no record of ours, and must not fill the memory
BATCH_ROWS = 1024


class UnreadableError(Exception):
    """A file that cannot be read as what its name says; the message says why."""


def read_leaves(path: Path) -> Iterator[bytes]:
    """Raises UnreadableError, OSError."""
    if path.name.endswith(".parquet"):
        return _parquet_rows(path)
    if path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        return _lines(path)
    raise UnreadableError("is neither JSONL nor Parquet")


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """A record as its line in JSONL: keys in their order, no spaces, UTF-8 (what orjson writes for text)."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def _lines(path: Path) -> Iterator[bytes]:
    file, broken = _open(path)
    with closing(file):
        try:
            while line := file.readline(MAX_LINE + 1):
                if not line.endswith(b"\n"):
                    raise UnreadableError("has a line that is too long or does not end")
                yield line[:-1]
        except broken as error:
            raise UnreadableError(f"is not whole: {error}") from error


def _open(path: Path) -> tuple[IO[bytes], tuple[type[Exception], ...]]:
    """The text of the file and what reading it may raise when it is damaged."""
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb")), (EOFError, gzip.BadGzipFile, zlib.error)
    if path.suffix != ".zst":
        return path.open("rb"), ()
    try:
        import zstandard
    except ImportError as error:
        raise UnreadableError("needs the package zstandard to be read: pip install zstandard") from error
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return io.BufferedReader(cast("io.RawIOBase", reader)), (zstandard.ZstdError,)


def _parquet_rows(path: Path) -> Iterator[bytes]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UnreadableError("needs the package pyarrow to be read: pip install pyarrow") from error
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    yield record_bytes(row)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UnreadableError(f"is not sound Parquet: {str(error).splitlines()[0]}") from error
