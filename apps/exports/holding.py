"""Writes down what a snapshot holds and leaves out, record by record, while it is built."""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction

from apps.exports.lineage import Asked, Kept
from apps.exports.making.parts import HeldRows

ROWS = 4_000  # held before they are written, in a transaction of their own

_HELD = (
    "COPY exports_snapshotrecord (snapshot_id, number, question_id, slot, path_id, response_id, tier, errors, overridden,"
    " version, content) FROM STDIN"
)
_LEFT_OUT = "COPY exports_snapshotomission (snapshot_id, question_id, slot, state, reason, version) FROM STDIN"
_FORGET = (
    "DELETE FROM exports_snapshotrecord WHERE snapshot_id = %s",
    "DELETE FROM exports_snapshotomission WHERE snapshot_id = %s",
)
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class HoldingRows:
    """The rows of a page."""

    def __init__(self, snapshot_id: UUID) -> None:
        self._id = str(snapshot_id)
        self._held: list[str] = []
        self._left_out: list[str] = []

    def hold(self, asked: Asked, kept: Kept, content: bytes, *, number: int) -> None:
        row = asked.row
        errors = r"\N" if row.error_count is None else row.error_count
        self._held.append(
            f"{self._id}\t{number}\t{row.question_id}\t{kept.slot}\t{kept.path.pk}\t{kept.response.pk}\t"
            f"{row.tier.translate(_ESCAPES)}\t{errors}\t{'t' if row.overridden else 'f'}\t{row.version}\t\\\\x{content.hex()}\n"
        )

    def leave_out(self, asked: Asked, *, slot: int, state: str, reason: str) -> None:
        """Slot 0: the whole question."""
        row, said = asked.row, f"{state.translate(_ESCAPES)}\t{reason.translate(_ESCAPES)}"
        self._left_out.append(f"{self._id}\t{row.question_id}\t{slot}\t{said}\t{row.version}\n")

    def taken(self) -> HeldRows:
        size = len(self._held) + len(self._left_out)
        return HeldRows("".join(self._held).encode(), "".join(self._left_out).encode(), size)


def forget_rows(snapshot_id: UUID) -> None:
    """All that is written down of a snapshot. A queryset would fetch each row to look for what hangs on it, hundreds of thousands."""
    with connection.cursor() as cursor:
        for statement in _FORGET:
            cursor.execute(statement, [snapshot_id])


class Holding:
    """Nobody reads the rows before the snapshot is done; whoever builds it writes them from the start."""

    def __init__(self, snapshot_id: UUID) -> None:
        self.snapshot_id = snapshot_id
        self._pages: list[HeldRows] = []

    def begin(self) -> None:
        """Without what an earlier builder, or an earlier round, has written."""
        self._pages.clear()
        with transaction.atomic():
            forget_rows(self.snapshot_id)

    def add(self, rows: HeldRows) -> None:
        self._pages.append(rows)
        if sum(page.size for page in self._pages) >= ROWS:
            self.write()

    def write(self) -> None:
        """Whatever is still held."""
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, parts in (
                (_HELD, [page.held for page in self._pages]),
                (_LEFT_OUT, [page.left_out for page in self._pages]),
            ):
                if any(parts):
                    with cursor.copy(statement) as copy:
                        for part in parts:
                            copy.write(part)
        self._pages.clear()
