"""Keyset pages: a page is the rows after (or before) an id; nothing is skipped over, nothing is counted to the end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core.cache import cache
from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)
PAGE_SIZE = 50
COUNT_CAP = 1000
MANY_S = 60
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    rows: list[M]
    before: int | None  # cursor of the page before, None on the first
    after: int | None


@dataclass(frozen=True, slots=True)
class Capped:
    """How many there are, up to a cap: "1,000+" says it went no further."""

    value: int
    capped: bool

    def __str__(self) -> str:
        return f"{self.value:,}+" if self.capped else f"{self.value:,}"


def read_page(
    rows: QuerySet[M], params: Mapping[str, str], *, field: str, size: int = PAGE_SIZE, twins: Sequence[str] = ()
) -> Page[M]:
    """The page of `rows` by ascending `field` (an id) that `after` or `before` in the address asks for.

    `twins`: columns of joined tables (table.column) that are equal to `field`. The cursor is said of each of them:
    PostgreSQL does not conclude it, and would merge the tables from their first row, seconds before a deep page.
    """
    after, before = _cursor(params.get("after")), _cursor(params.get("before"))
    if before is not None:
        rows = rows.filter(**{f"{field}__lt": before}).extra(  # noqa: S610 - columns named in our own code
            where=[f"{twin} < %s" for twin in twins], params=[before] * len(twins)
        )
        found = list(rows.order_by(f"-{field}")[: size + 1])
        page = list(reversed(found[:size]))
        has_before, has_after = len(found) > size, True
    else:
        if after is not None:
            rows = rows.filter(**{f"{field}__gt": after}).extra(  # noqa: S610
                where=[f"{twin} > %s" for twin in twins], params=[after] * len(twins)
            )
        found = list(rows.order_by(field)[: size + 1])
        page = found[:size]
        has_before, has_after = after is not None, len(found) > size
    attribute = field if field != "pk" else "id"
    first, last = (_value(page[0], attribute), _value(page[-1], attribute)) if page else (None, None)
    return Page(page, first if has_before else None, last if has_after else None)


def count_capped(rows: QuerySet[Any], cap: int = COUNT_CAP) -> Capped:
    """Stops counting at the cap, so that it costs no more than a few pages."""
    found = rows.order_by().values_list("pk")[: cap + 1].count()
    return Capped(min(found, cap), found > cap)


def count_again(rows: QuerySet[Any], cap: int = COUNT_CAP) -> Capped:
    """Like `count_capped`; that there are more than the cap is believed for a minute instead of being counted anew."""
    key = _known(rows, cap)
    if cache.get(key):
        return Capped(cap, capped=True)
    found = count_capped(rows, cap)
    if found.capped:
        cache.set(key, True, MANY_S)
    return found


def read_few(rows: QuerySet[Any], cap: int = COUNT_CAP) -> list[int] | None:
    """The ids of all rows, none where there are more than the cap (which is then believed for a minute)."""
    key = _known(rows, cap)
    if cache.get(key):
        return None
    found = list(rows.order_by().values_list("pk", flat=True)[: cap + 1])
    if len(found) > cap:
        cache.set(key, True, MANY_S)
        return None
    return found


def _known(rows: QuerySet[Any], cap: int) -> str:
    sql, params = rows.order_by().values_list("pk").query.sql_with_params()
    return "many:" + hashlib.sha256(f"{cap} {sql} {params!r}".encode()).hexdigest()


def _cursor(raw: str | None) -> int | None:
    if not raw or not raw.isascii() or not raw.isdigit():
        return None
    return min(int(raw[:19]), LARGEST_ID)


def _value(row: Model, attribute: str) -> int:
    return int(getattr(row, attribute))
