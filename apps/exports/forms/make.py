"""Makes of a page what its further forms hold, where the page is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from apps.exports.config import ExportConfig
from apps.exports.forms.names import FormName
from apps.exports.forms.pairs import pair_lines, pairs_of
from apps.exports.forms.parts import FormsMade, OwnMade
from apps.exports.forms.steps import step_lines, steps_of
from apps.exports.forms.table import TableRows
from apps.exports.forms.texts import columns_of_form, make_chat
from apps.exports.lineage import Asked, Kept
from apps.exports.lines import Format, rows_of
from apps.exports.records import Record
from apps.reasoning.models import Run

if TYPE_CHECKING:
    import pyarrow as pa

RECORD = b'{"record":0'  # how each line of a trail begins before it is numbered


class FormMaker:
    """Use: `record` for each record as it leaves, then `page` for the page's exported questions."""

    def __init__(self, run: Run, config: ExportConfig, format: Format) -> None:
        self._run, self._config, self._columns = run, config, format == "parquet"
        self.wants_records = "messages" in config.forms
        self._chats: list[Any] = []
        self._table = TableRows() if "csv" in config.forms else None

    def record(self, asked: Asked, kept: Kept, record: Record | None, *, number: int) -> None:
        """`record`: that of the export's first set, where `wants_records`."""
        if record is not None and self.wants_records:
            self._chats.append(make_chat(record, system=self._config.system_prompt))
        if self._table:
            self._table.add(asked, kept, number=number)

    def page(self, exported: Sequence[Asked], *, start: int) -> FormsMade:
        """`start`: the number of the page's first record."""
        made = FormsMade(table=self._table.taken() if self._table else b"")
        if self.wants_records:
            chats, self._chats = self._chats, []
            made.messages = rows_of(chats, self._schema("messages"), start=start)
        if "preferences" in self._config.forms:
            pairs = pairs_of(self._run, self._config.labels, exported)
            trail = _unnumbered(pair_lines(self._run, pairs))
            made.own["preferences"] = self._own("preferences", [p.pair for p in pairs], trail, [p.asked for p in pairs])
        if "steps" in self._config.forms:
            steps = steps_of(self._run, exported)
            trail = _unnumbered(step_lines(self._run, steps))
            made.own["steps"] = self._own("steps", [s.steps for s in steps], trail, [s.asked for s in steps])
            made.steps, made.wrong = sum(len(s.steps["labels"]) for s in steps), sum(len(s.wrong) for s in steps)
        return made

    def _own(
        self, name: FormName, rows: Sequence[Mapping[str, Any]], trail: list[bytes], of: Sequence[Asked]
    ) -> OwnMade:
        lines = rows_of(rows, self._schema(name), start=None)
        return OwnMade(lines, trail, len({asked.question.pk for asked in of}))

    def _schema(self, name: FormName) -> pa.Schema | None:
        return columns_of_form(name) if self._columns else None


def _unnumbered(lines: Iterable[Mapping[str, Any]]) -> list[bytes]:
    return [orjson.dumps({"record": 0} | dict(line))[len(RECORD) :] for line in lines]
