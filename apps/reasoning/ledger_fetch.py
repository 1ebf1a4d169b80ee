"""What the checks of the ledger share: a difference, and a read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `kind`: question, label, selection, counter, sum, path, verdict or money; `where` says which row."""

    run: str
    kind: str
    where: str
    stored: Any
    expected: Any

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.run}: {self.kind} {self.where}: stored {self.stored!r}, expected {self.expected!r}"


def fetch(sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
