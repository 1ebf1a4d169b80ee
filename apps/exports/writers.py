"""Writers of the data files: lines in, files with their checksums out, in memory that does not grow with the lines."""

from __future__ import annotations

import gzip
import hashlib
import os
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypedDict, cast

import orjson
import zstandard

from apps.exports.lines import FORMATS, Format, Lines, lines_of, rows_of
from apps.exports.records import Record
from reasonmed_verify.merkle import MerkleTree

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("FORMATS", "WORDS", "FileEntry", "Format", "JsonlWriter", "ParquetWriter", "RecordWriter", "open_writer")

WORDS: dict[Format, str] = {
    "jsonl": "JSON Lines",
    "jsonl.gz": "JSON Lines, gzip",
    "jsonl.zst": "JSON Lines, zstd",
    "parquet": "Parquet",
}

SHARD_BYTES = 256 * 1024 * 1024  # a Parquet file is closed once it is this large
BATCH_BYTES = 1024 * 1024  # of single records held before they are written together, and of lines packed at once
ROW_GROUP_BYTES = 2 * 1024 * 1024  # text held before it is written, a set: some 800 records
GZIP_LEVEL = 5  # half the time of 9, the library's own choice, for files 2 % larger
SINGLE = 200  # records held that come one by one, of Parquet
COLUMNS = tuple(Record.__annotations__)


class FileEntry(TypedDict):
    path: str
    sha256: str
    records: int
    bytes: int


class RecordWriter(Protocol):
    """`tree` stands over the records written, as lines of JSONL whatever the format: the root is the same in each."""

    name: str
    tree: MerkleTree

    def write(self, record: Mapping[str, Any]) -> None:
        """One record; or many that are lines already:"""

    def write_lines(self, lines: Lines) -> None: ...
    def finish(self) -> list[FileEntry]: ...
    def close(self) -> None: ...


def open_writer(
    folder: Path, name: str, format: Format, *, shard_bytes: int = SHARD_BYTES, schema: pa.Schema | None = None
) -> RecordWriter:
    """`schema`: the columns of Parquet, in the order of the record's keys; those of the three sets if none is given."""
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

    def write_lines(self, lines: Lines) -> None:
        self._hand_over()
        self._put(lines)

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
        if self._leaves:
            leaves, self._leaves, self._held = self._leaves, [], 0
            self._put(lines_of(leaves, start=self.tree.size))

    def _put(self, lines: Lines) -> None:
        if lines.length:
            self.tree.join(lines.trees)
            self._behind.do(self._write_data, lines.data)

    def _write_data(self, data: Any) -> None:
        self._file.write(data)


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


class _EvenChunks:
    """Passes bytes on in chunks of one size, so that how they come does not show in how they are packed."""

    def __init__(self, packer: IO[bytes]) -> None:
        self._packer, self._held = packer, bytearray()

    def write(self, data: Any) -> int:
        self._held += data
        whole = len(self._held) // BATCH_BYTES * BATCH_BYTES
        if whole:
            with memoryview(self._held) as view:
                for at in range(0, whole, BATCH_BYTES):
                    self._packer.write(view[at : at + BATCH_BYTES])
            del self._held[:whole]
        return len(data)

    def close(self) -> None:
        if not self._packer.closed:
            self._packer.write(bytes(self._held))
            self._packer.close()


def _packed(sink: _HashedFile, suffix: Format) -> _HashedFile | _EvenChunks:
    """Packed without name or time, so that the same lines give the same bytes."""
    raw = cast("IO[bytes]", sink)
    if suffix == "jsonl.gz":
        packer = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0)
        return _EvenChunks(cast("IO[bytes]", packer))
    if suffix == "jsonl.zst":
        return _EvenChunks(cast("IO[bytes]", zstandard.ZstdCompressor().stream_writer(raw, closefd=False)))
    return sink


class ParquetWriter:
    """`<name>-00000-of-0000N.parquet`, zstd. Where a file or a row group ends depends on the rows alone.

    N is known at the end only, so shards are written under passing names and renamed by `finish`.
    """

    def __init__(
        self, folder: Path, name: str, *, shard_bytes: int = SHARD_BYTES, schema: pa.Schema | None = None
    ) -> None:
        self.name, self.tree = name, MerkleTree()
        self._folder, self._shard_bytes, self._schema = folder, shard_bytes, schema or schema_of_sets()
        self._group_bytes = min(ROW_GROUP_BYTES, shard_bytes)
        self._shards: list[tuple[Path, int]] = []  # (passing path, rows)
        self._single: list[Mapping[str, Any]] = []  # records that came one by one
        self._parts: list[pa.Table] = []  # of the row group at hand
        self._held = 0
        self._behind = _Behind(name)
        self._open_shard()

    def write(self, record: Mapping[str, Any]) -> None:
        self._single.append(record)
        if len(self._single) >= SINGLE:
            self._hand_over()

    def write_lines(self, lines: Lines) -> None:
        self._hand_over()
        self._put(lines)

    def finish(self) -> list[FileEntry]:
        self._hand_over()
        self._behind.do(self._append, self._parts)
        self._behind.wait()
        self._close_shard()
        return [self._settle(number, path, rows) for number, (path, rows) in enumerate(self._shards)]

    def close(self) -> None:
        self._behind.close()
        self._close_files()

    def _hand_over(self) -> None:
        if self._single:
            rows, self._single = self._single, []
            self._put(rows_of(rows, self._schema, start=self.tree.size))

    def _put(self, lines: Lines) -> None:
        import pyarrow as pa

        if not lines.length:
            return
        self.tree.join(lines.trees)
        table, begin = pa.ipc.open_stream(lines.data).read_all(), 0
        for end, size in enumerate(array("I", lines.sizes), 1):
            self._held += size
            if self._held >= self._group_bytes:
                self._behind.do(self._write_group, [*self._parts, table.slice(begin, end - begin)])
                self._parts, self._held, begin = [], 0, end
        if begin < lines.length:
            self._parts.append(table.slice(begin))

    def _close_files(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()

    def _open_shard(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = self._folder / f"{self.name}-{len(self._shards):05}.part"
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", write_statistics=False)
        self._shard_rows = 0

    def _write_group(self, parts: list[pa.Table]) -> None:
        if self._sink.tell() >= self._shard_bytes:
            self._close_shard()
            self._open_shard()
        self._append(parts)

    def _append(self, parts: list[pa.Table]) -> None:
        import pyarrow as pa

        if parts:
            table = pa.concat_tables(parts).combine_chunks()  # one chunk: it shows in the file where one ends
            self._writer.write_table(table, row_group_size=len(table))
            self._shard_rows += len(table)

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


def schema_of_sets() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in COLUMNS])
