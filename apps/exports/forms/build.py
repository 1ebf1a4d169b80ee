"""Writes the further forms that an export was ordered in, page by page beside its sets, in memory that does not grow."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.exports.config import ExportConfig
from apps.exports.forms.make import RECORD
from apps.exports.forms.names import TRAILS, FormName
from apps.exports.forms.parts import FormsMade
from apps.exports.forms.table import TableWriter
from apps.exports.forms.texts import columns_of_form
from apps.exports.lines import lines_of
from apps.exports.writers import SHARD_BYTES, FileEntry, Format, JsonlWriter, RecordWriter, open_writer

Made = tuple[RecordWriter, list[FileEntry]]
UNNUMBERED = RECORD[:-1]


@dataclass(frozen=True, slots=True)
class FormsWritten:
    """`shared` stand with the sets, a record for each of theirs; `own` count on their own, each followed by its trail."""

    shared: list[Made]
    own: list[Made]
    extras: list[FileEntry]
    trails: dict[str, str]
    counts: dict[str, Any]  # for the manifest


class FormWriters:
    """Use: `write` for what was made of each page, `finish`."""

    def __init__(self, folder: Path, config: ExportConfig, *, format: Format, shard_bytes: int = SHARD_BYTES) -> None:
        self._opened = ExitStack()
        self._sets: dict[FormName, RecordWriter] = {}
        self._trails: dict[FormName, JsonlWriter] = {}
        self._table = self._opened.enter_context(closing(TableWriter(folder))) if "csv" in config.forms else None
        self._questions = {"preferences": 0, "steps": 0}
        self._steps = self._wrong = 0
        for name in config.forms:
            if name != "csv":
                schema = columns_of_form(name) if format == "parquet" else None
                made = open_writer(folder, name, format, shard_bytes=shard_bytes, schema=schema)
                self._sets[name] = self._opened.enter_context(closing(made))
            if name in TRAILS:
                self._trails[name] = self._opened.enter_context(closing(JsonlWriter(folder, TRAILS[name])))

    def write(self, made: FormsMade) -> None:
        if made.messages:
            self._sets["messages"].write_lines(made.messages)
        if self._table:
            self._table.write(made.table)
        for name, own in made.own.items():
            trail = self._trails[name]
            first = trail.tree.size
            numbered = [UNNUMBERED + str(number).encode() + line for number, line in enumerate(own.trail, first)]
            self._sets[name].write_lines(own.lines)
            trail.write_lines(lines_of(numbered, start=first))
            self._questions[name] += own.questions
        self._steps += made.steps
        self._wrong += made.wrong

    def finish(self, *, records: int) -> FormsWritten:
        """`records`: of each of the export's sets."""
        shared = [(w, w.finish()) for name, w in self._sets.items() if name not in TRAILS]
        own: list[Made] = []
        for name, trail in self._trails.items():
            own += [(self._sets[name], self._sets[name].finish()), (trail, trail.finish())]
        extras = [self._table.finish(records)] if self._table else []
        trails = {of: TRAILS[name] for name in self._trails for of in (name, TRAILS[name])}
        return FormsWritten(shared, own, extras, trails, self._counts(records))

    def close(self) -> None:
        self._opened.close()

    def _counts(self, records: int) -> dict[str, Any]:
        counts: dict[str, Any] = {name: {"records": writer.tree.size} for name, writer in self._sets.items()}
        if self._table:
            counts["csv"] = {"records": records}
        for name in self._trails:
            counts[name]["questions"] = self._questions[name]
        if "steps" in counts:
            counts["steps"] |= {"steps": self._steps, "wrong_steps": self._wrong}
        return dict(sorted(counts.items()))
