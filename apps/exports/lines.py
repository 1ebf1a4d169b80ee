"""Records of a set as they are handed to its writer: lines of JSON, or columns where the format has some, and their hashes."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import orjson

from reasonmed_verify.merkle import leaf_hash, subtrees_of

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


class Lines(NamedTuple):
    """Records that follow one another. `data`: the lines with their ends; of Parquet, an Arrow stream of the rows."""

    length: int
    data: Any  # bytes, or a view of them
    trees: list[tuple[int, bytes]]  # the lines' full subtrees in the set's Merkle tree
    sizes: bytes = b""  # of each line, as an array of unsigned integers: where the data are columns

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """The data may travel beside the pickle, without being copied once more."""
        return Lines, (self.length, pickle.PickleBuffer(self.data), self.trees, self.sizes)


def lines_of(leaves: Sequence[bytes], *, start: int | None) -> Lines:
    """`start`: the place of the first in its set, from 0, where it is known. A leaf is a line without its end."""
    return Lines(len(leaves), b"\n".join((*leaves, b"")), _trees(leaves, start))


def columns_of(leaves: Sequence[bytes], table: pa.Table, *, start: int | None) -> Lines:
    """The same for Parquet, whose rows are `table`."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    sizes = array("I", map(len, leaves)).tobytes()
    return Lines(len(leaves), sink.getvalue(), _trees(leaves, start), sizes)


def rows_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None, *, start: int | None) -> Lines:
    """Of rows as they are; with a schema, for Parquet."""
    leaves = [orjson.dumps(row) for row in rows]
    if schema is None:
        return lines_of(leaves, start=start)
    import pyarrow as pa

    return columns_of(leaves, pa.Table.from_pylist(rows, schema=schema), start=start)


def _trees(leaves: Sequence[bytes], start: int | None) -> list[tuple[int, bytes]]:
    return [(1, leaf_hash(leaf)) for leaf in leaves] if start is None else subtrees_of(leaves, start=start)
