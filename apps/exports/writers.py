"""Writers of the data files: rows in, files with their checksums out, in memory that does not grow with the rows."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypedDict, cast, get_args

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from apps.exports.records import Record
from reasonmed_verify.merkle import MerkleTree

Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
WORDS: dict[Format, str] = {
    "jsonl": "JSON Lines",
    "jsonl.gz": "JSON Lines, gzip",
    "jsonl.zst": "JSON Lines, zstd",
    "parquet": "Parquet",
}

SHARD_BYTES = 256 * 1024 * 1024  # a Parquet file is closed once it is this large
BATCH_BYTES = 1024 * 1024  # lines held before they are hashed, packed and written together
ROW_GROUP_BYTES = 2 * 1024 * 1024  # text held before it is written, a set: some 800 records
SCHEMA = pa.schema([(name, pa.string()) for name in Record.__annotations__])


class FileEntry(TypedDict):
    path: str
    sha256: str
    records: int
    bytes: int


class RecordWriter(Protocol):
    """`tree` stands over the records written, as lines of JSONL whatever the format: the root is the same in each."""

    name: str
    tree: MerkleTree

    def write(self, record: Mapping[str, Any]) -> None: ...
    def finish(self) -> list[FileEntry]: ...
    def close(self) -> None: ...


def open_writer(
    folder: Path, name: str, format: Format, *, shard_bytes: int = SHARD_BYTES, schema: pa.Schema = SCHEMA
) -> RecordWriter:
    """`schema`: the columns of Parquet, in the order of the record's keys."""
    if format == "parquet":
        return ParquetWriter(folder, name, shard_bytes=shard_bytes, schema=schema)
    return JsonlWriter(folder, name, suffix=format)


class JsonlWriter:
    """`<name>.jsonl`, one object a line, UTF-8, hashed as it is written; packed where the suffix says so."""

    def __init__(self, folder: Path, name: str, *, suffix: Format = "jsonl") -> None:
        self.name, self.tree = name, MerkleTree()
        self.path = folder / f"{name}.{suffix}"
        self._sink = _HashedFile(self.path)
        self._file = _packed(self._sink, suffix)
        self._leaves: list[bytes] = []
        self._held = 0
        self._behind = _Behind(name)

    def write(self, record: Any) -> None:
        leaf = orjson.dumps(record)
        self._leaves.append(leaf)
        self._held += len(leaf)
        if self._held >= BATCH_BYTES:
            self._hand_over()

    def finish(self) -> list[FileEntry]:
        self._hand_over()
        self._behind.wait()
        if self._file is not self._sink:
            self._file.close()  # ends the packed stream
        self._sink.sync()
        self.close()
        digest = self._sink.digest.hexdigest()
        return [{"path": self.path.name, "sha256": digest, "records": self.tree.size, "bytes": self._sink.size}]

    def close(self) -> None:
        self._behind.close()
        self._file.close()
        self._sink.close()

    def _hand_over(self) -> None:
        self._behind.do(self._write_lines, self._leaves)
        self._leaves, self._held = [], 0

    def _write_lines(self, leaves: list[bytes]) -> None:
        self.tree.extend(leaves)
        self._file.write(b"".join(leaf + b"\n" for leaf in leaves))


class _Behind:
    """A thread that does one thing after the other while its owner goes on: hashing, packing and writing need no lock of
    the interpreter. One thing at most waits, so that the memory stays small; what fails, fails the next call."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name}")
        self._last: Future[None] | None = None

    def do(self, work: Callable[..., None], *args: Any) -> None:
        self.wait()
        self._last = self._thread.submit(work, *args)

    def wait(self) -> None:
        if self._last:
            self._last.result()

    def close(self) -> None:
        self._thread.shutdown()


class _HashedFile:
    """A file whose bytes are hashed and counted on their way to the disk."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 20)
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _packed(sink: _HashedFile, suffix: Format) -> _HashedFile | IO[bytes]:
    """Packed without name or time, so that the same lines give the same bytes."""
    raw = cast("IO[bytes]", sink)
    if suffix == "jsonl.gz":
        return cast("IO[bytes]", gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
    if suffix == "jsonl.zst":
        return zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
    return sink


class ParquetWriter:
    """`<name>-00000-of-0000N.parquet`, zstd. Where a file or a row group ends depends on the rows alone.

    N is known at the end only, so shards are written under passing names and renamed by `finish`.
    """

    def __init__(self, folder: Path, name: str, *, shard_bytes: int = SHARD_BYTES, schema: pa.Schema = SCHEMA) -> None:
        self.name, self.tree = name, MerkleTree()
        self._folder, self._shard_bytes, self._schema = folder, shard_bytes, schema
        self._group_bytes = min(ROW_GROUP_BYTES, shard_bytes)
        self._shards: list[tuple[Path, int]] = []  # (passing path, rows)
        self._rows: list[Mapping[str, Any]] = []
        self._held = 0
        self._behind = _Behind(name)
        self._open_shard()

    def write(self, record: Mapping[str, Any]) -> None:
        leaf = orjson.dumps(record)
        self._rows.append(record)
        self.tree.add(leaf)
        self._held += len(leaf)
        if self._held >= self._group_bytes:
            self._behind.do(self._write_group, self._rows)
            self._rows, self._held = [], 0

    def finish(self) -> list[FileEntry]:
        self._behind.do(self._append, self._rows)
        self._behind.wait()
        self._close_shard()
        return [self._settle(number, path, rows) for number, (path, rows) in enumerate(self._shards)]

    def close(self) -> None:
        self._behind.close()
        self._close_files()

    def _close_files(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()

    def _open_shard(self) -> None:
        self._path = self._folder / f"{self.name}-{len(self._shards):05}.part"
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", write_statistics=False)
        self._shard_rows = 0

    def _write_group(self, rows: list[Mapping[str, Any]]) -> None:
        if self._sink.tell() >= self._shard_bytes:
            self._close_shard()
            self._open_shard()
        self._append(rows)

    def _append(self, rows: list[Mapping[str, Any]]) -> None:
        if rows:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
            self._shard_rows += len(rows)

    def _close_shard(self) -> None:
        self._close_files()
        self._shards.append((self._path, self._shard_rows))

    def _settle(self, number: int, path: Path, rows: int) -> FileEntry:
        final = path.with_name(f"{self.name}-{number:05}-of-{len(self._shards):05}.parquet")
        path.rename(final)
        with final.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        return {"path": final.name, "sha256": digest, "records": rows, "bytes": size}
