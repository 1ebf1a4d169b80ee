"""Writes the further forms that an export was ordered in, page by page beside its sets, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.exports.config import ExportConfig
from apps.exports.forms.names import TRAILS, FormName
from apps.exports.forms.pairs import pair_lines, pairs_of
from apps.exports.forms.steps import step_lines, steps_of
from apps.exports.forms.table import TableWriter
from apps.exports.forms.texts import CHAT_COLUMNS, PAIR_COLUMNS, STEP_COLUMNS, make_chat
from apps.exports.lineage import Asked, Kept
from apps.exports.records import Record
from apps.exports.writers import SHARD_BYTES, FileEntry, Format, JsonlWriter, RecordWriter, open_writer
from apps.reasoning.models import Run

COLUMNS = {"messages": CHAT_COLUMNS, "preferences": PAIR_COLUMNS, "steps": STEP_COLUMNS}

Made = tuple[RecordWriter, list[FileEntry]]


@dataclass(frozen=True, slots=True)
class FormsMade:
    """`shared` stand with the sets, a record for each of theirs; `own` count on their own, each followed by its trail."""

    shared: list[Made]
    own: list[Made]
    extras: list[FileEntry]
    trails: dict[str, str]
    counts: dict[str, Any]  # for the manifest


class FormWriters:
    """Use: `write_record` for each record as it leaves, `write_page` for the page's exported questions, `finish`."""

    def __init__(
        self, folder: Path, run: Run, config: ExportConfig, *, format: Format, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._run, self._config = run, config
        self._opened = ExitStack()
        self._sets: dict[FormName, RecordWriter] = {}
        self._trails: dict[FormName, JsonlWriter] = {}
        self._table = self._opened.enter_context(closing(TableWriter(folder))) if "csv" in config.forms else None
        self._written = {"preferences": 0, "steps": 0}
        self._questions = {"preferences": 0, "steps": 0}
        self._steps = self._wrong = 0
        for name in config.forms:
            if name != "csv":
                made = open_writer(folder, name, format, shard_bytes=shard_bytes, schema=COLUMNS[name])
                self._sets[name] = self._opened.enter_context(closing(made))
            if name in TRAILS:
                self._trails[name] = self._opened.enter_context(closing(JsonlWriter(folder, TRAILS[name])))

    def write_record(self, asked: Asked, kept: Kept, record: Record) -> None:
        """`record`: that of the export's first set."""
        if chat := self._sets.get("messages"):
            chat.write(make_chat(record, system=self._config.system_prompt))
        if self._table:
            self._table.write(asked, kept)

    def write_page(self, exported: Sequence[Asked]) -> None:
        if "preferences" in self._sets:
            self._write_pairs(exported)
        if "steps" in self._sets:
            self._write_steps(exported)

    def finish(self) -> FormsMade:
        shared = [(w, w.finish()) for name, w in self._sets.items() if name not in TRAILS]
        own: list[Made] = []
        for name, trail in self._trails.items():
            own += [(self._sets[name], self._sets[name].finish()), (trail, trail.finish())]
        extras = [self._table.finish()] if self._table else []
        trails = {of: TRAILS[name] for name in self._trails for of in (name, TRAILS[name])}
        return FormsMade(shared, own, extras, trails, self._counts())

    def close(self) -> None:
        self._opened.close()

    def _write_pairs(self, exported: Sequence[Asked]) -> None:
        made = pairs_of(self._run, self._config.labels, exported)
        for one in made:
            self._sets["preferences"].write(one.pair)
        for line in pair_lines(self._run, made, first=self._written["preferences"]):
            self._trails["preferences"].write(line)
        self._written["preferences"] += len(made)
        self._questions["preferences"] += len({one.asked.question.pk for one in made})

    def _write_steps(self, exported: Sequence[Asked]) -> None:
        made = steps_of(self._run, exported)
        for one in made:
            self._sets["steps"].write(one.steps)
            self._steps += len(one.steps["labels"])
            self._wrong += len(one.wrong)
        for line in step_lines(self._run, made, first=self._written["steps"]):
            self._trails["steps"].write(line)
        self._written["steps"] += len(made)
        self._questions["steps"] += len({one.asked.question.pk for one in made})

    def _counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {name: {"records": writer.tree.size} for name, writer in self._sets.items()}
        if self._table:
            counts["csv"] = {"records": self._table.records}
        for name in self._trails:
            counts[name]["questions"] = self._questions[name]
        if "steps" in counts:
            counts["steps"] |= {"steps": self._steps, "wrong_steps": self._wrong}
        return dict(sorted(counts.items()))
