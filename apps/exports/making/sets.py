"""The lines of an export's sets and of their provenance, made of questions and what they keep.

A text is escaped once, whatever the number of sets it stands in: the lines are put together of parts that are JSON already.
`records.make_records` says what they hold; a test holds the two against each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from apps.exports.lineage import Asked, Kept
from apps.exports.lines import Lines, columns_of, lines_of
from apps.exports.making.parts import Order
from apps.exports.provenance import provenance_of
from apps.exports.records import Record, Variant, plain_text
from apps.questions.text import join_question

if TYPE_CHECKING:
    import pyarrow as pa

_HEAD, _INPUT, _END = b'{"instruction":', b',"input":"","output":"', b'"}'
_LINES: dict[Variant, Callable[[bytes, bytes, bytes], bytes]] = {
    "reasonmed": lambda head, cot, response: b"".join((head, b"<think>", cot, b"</think>", response, _END)),
    "cotmed": lambda head, cot, _: b"".join((head, cot, _END)),
    "responsemed": lambda head, _, response: b"".join((head, response, _END)),
}
_OUTPUTS: dict[Variant, Callable[[str, str], str]] = {
    "reasonmed": lambda cot, response: f"<think>{cot}</think>{response}",
    "cotmed": lambda cot, _: cot,
    "responsemed": lambda _, response: response,
}


class SetMaker:
    """Of one page. Use: `begin` for a question, `add` for each of its records, `finish`."""

    def __init__(self, order: Order, start: int, *, wanted: bool) -> None:
        """`wanted`: the first set's records are asked for, too."""
        self._variants, self._start, self._wanted = order.variants, start, wanted
        self._sets: list[tuple[Callable[[bytes, bytes, bytes], bytes], list[bytes]]] = [
            (_LINES[variant], []) for variant in order.variants
        ]
        self._trail: list[bytes] = []
        self._columns: list[tuple[str, str, str]] | None = [] if order.format == "parquet" else None
        self._instruction, self._escaped, self._front = "", b"", b""
        self._raw = b"", b""

    @property
    def records(self) -> int:
        return len(self._trail)

    @property
    def number(self) -> int:
        """Of the next record."""
        return self._start + len(self._trail)

    def begin(self, asked: Asked) -> None:
        question = asked.question
        self._instruction = join_question(question.contexts, question.stem, question.options)
        self._escaped = orjson.dumps(self._instruction)
        self._front = b"".join((_HEAD, self._escaped, _INPUT))

    def add(self, asked: Asked, kept: Kept) -> Record | None:
        """The first set's record if it is wanted. Raises ValueError (no text)."""
        raw = orjson.dumps(kept.path.text), orjson.dumps(kept.response.text)
        cot, response = plain_text(kept.path.text), plain_text(kept.response.text)
        if not cot or not response:
            raise ValueError("the path is empty" if not cot else "the response is empty")
        parts = (
            (raw[0] if cot == kept.path.text else orjson.dumps(cot))[1:-1],
            (raw[1] if response == kept.response.text else orjson.dumps(response))[1:-1],
        )
        for line, leaves in self._sets:
            leaves.append(line(self._front, *parts))
        self._trail.append(orjson.dumps(provenance_of(asked, kept, number=self.number)))
        if self._columns is not None:
            self._columns.append((self._instruction, cot, response))
        self._raw = raw
        if not self._wanted:
            return None
        output = _OUTPUTS[self._variants[0]](cot, response)
        return {"instruction": self._instruction, "input": "", "output": output}

    def content(self) -> bytes:
        """The digest of the content of the record that was added last."""
        return content_digest(self._escaped, *self._raw)

    def finish(self) -> list[Lines]:
        """Each set as ordered, then the provenance."""
        made = []
        for variant, (_, leaves) in zip(self._variants, self._sets, strict=True):
            if self._columns is None:
                made.append(lines_of(leaves, start=self._start))
            else:
                made.append(columns_of(leaves, _table(variant, self._columns), start=self._start))
        return [*made, lines_of(self._trail, start=self._start)]


def content_digest(instruction: bytes, cot: bytes, response: bytes) -> bytes:
    """`apps.review.records.content.content_hash` of texts that are JSON already."""
    return hashlib.sha256(b"".join((b"[", instruction, b", ", cot, b", ", response, b"]"))).digest()


def _table(variant: Variant, columns: list[tuple[str, str, str]]) -> pa.Table:
    import pyarrow as pa

    from apps.exports.writers import schema_of_sets

    output = _OUTPUTS[variant]
    rows = [
        [instruction for instruction, _, _ in columns],
        [""] * len(columns),
        [output(cot, response) for _, cot, response in columns],
    ]
    return pa.table([pa.array(column, pa.string()) for column in rows], schema=schema_of_sets())
