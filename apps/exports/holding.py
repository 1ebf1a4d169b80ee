"""Writes down what a snapshot holds and leaves out, record by record, while it is built."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, transaction

from apps.exports.lineage import Asked, Kept
from apps.exports.models import SnapshotOmission, SnapshotRecord
from apps.review.records.content import content_hash

ROWS = 4_000  # held before they are written, in a transaction of their own

_HELD = (
    "COPY exports_snapshotrecord (snapshot_id, number, question_id, slot, path_id, response_id, tier, errors, overridden,"
    " version, content) FROM STDIN"
)
_LEFT_OUT = "COPY exports_snapshotomission (snapshot_id, question_id, slot, state, reason, version) FROM STDIN"


class Holding:
    """Nobody reads the rows before the snapshot is done; whoever builds it writes them from the start."""

    def __init__(self, snapshot_id: UUID) -> None:
        self._id = snapshot_id
        self._held: list[tuple[Any, ...]] = []
        self._left_out: list[tuple[Any, ...]] = []

    def begin(self) -> None:
        """Without what an earlier builder, or an earlier round, has written."""
        self._held.clear()
        self._left_out.clear()
        with transaction.atomic():
            for model in (SnapshotRecord, SnapshotOmission):
                model._default_manager.filter(snapshot=self._id).delete()

    def hold(self, asked: Asked, kept: Kept, *, number: int) -> None:
        row = asked.row
        content = content_hash(asked.question, cot=kept.path.text, response=kept.response.text)
        made_from = (row.question_id, kept.slot, kept.path.pk, kept.response.pk)
        then = (row.tier, row.error_count, row.overridden, row.version, bytes.fromhex(content))
        self._held.append((self._id, number, *made_from, *then))

    def leave_out(self, asked: Asked, *, slot: int, state: str, reason: str) -> None:
        """Slot 0: the whole question."""
        self._left_out.append((self._id, asked.row.question_id, slot, state, reason, asked.row.version))

    def write(self, *, all: bool = False) -> None:
        """Between pages; with `all`, whatever is still held."""
        if len(self._held) + len(self._left_out) < (1 if all else ROWS):
            return
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, rows in ((_HELD, self._held), (_LEFT_OUT, self._left_out)):
                if rows:
                    with cursor.copy(statement) as copy:
                        for row in rows:
                            copy.write_row(row)
                rows.clear()
