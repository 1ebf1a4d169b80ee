"""The records as a table for people: CSV that a spreadsheet opens without running anything that stands in it."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
from pathlib import Path

from apps.exports.lineage import Asked, Kept
from apps.exports.records import plain_text
from apps.exports.writers import FileEntry
from apps.questions.text import join_question

NAME = "records.csv"
COLUMNS = ("record", "question", "benchmark", "split", "tier", "slot", "instruction", "reasoning", "response")
_FORMULA = frozenset("=+-@＝＋－＠")


class TableRows:
    """Rows of a page. Lines end with CRLF (RFC 4180)."""

    def __init__(self) -> None:
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text)

    def add(self, asked: Asked, kept: Kept, *, number: int) -> None:
        question = asked.question
        texts = (
            join_question(question.contexts, question.stem, question.options),
            plain_text(kept.path.text),
            plain_text(kept.response.text),
        )
        names = (question.uid, question.benchmark.slug, question.split, asked.row.tier)
        self._rows.writerow([number, *map(neutral, names), kept.slot, *map(neutral, texts)])

    def taken(self) -> bytes:
        rows = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return rows


class TableWriter:
    """UTF-8 with a byte order mark, by which Excel knows it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file = self.path.open("wb", buffering=1 << 20)
        self._file.write(codecs.BOM_UTF8 + (",".join(COLUMNS) + "\r\n").encode())

    def write(self, rows: bytes) -> None:
        self._file.write(rows)

    def finish(self, records: int) -> FileEntry:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"path": NAME, "sha256": digest, "records": records, "bytes": file.tell()}

    def close(self) -> None:
        self._file.close()


def neutral(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula, or where a control character hides one."""
    first = text.lstrip()[:1]
    return f"'{text}" if first in _FORMULA or text[:1] in ("\t", "\r", "\n") else text
