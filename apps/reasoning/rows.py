"""Many values in one parameter of a statement: lists are quoted value by value in Python, and cost several times as much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson


def int_array(values: Iterable[int]) -> str:
    """In PostgreSQL's own words, to be cast: `= ANY(%s::bigint[])`."""
    return f"{{{','.join(map(str, values))}}}"


def json_rows(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """For `json_to_recordset(%s::json) AS n(…)`, which names the types."""
    names = tuple(columns)
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str).decode()
