"""A figure as it is shown: never a bare number, never NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Scale = Literal["share", "coefficient"]


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is none when the figure is undefined, and `undefined` says why; `low` and `high` are none together.

    `n` counts what was observed; `effective_n` is how many independent observations that is worth (equal to `n` in a
    simple random sample, fewer when items of one question stand together or carry unequal weights). A share is in
    0…1, a coefficient at most 1.
    """

    name: str
    scale: Scale
    n: int
    effective_n: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    sentence: str = ""
    undefined: str = ""

    def __post_init__(self) -> None:
        numbers = [x for x in (self.value, self.low, self.high, self.effective_n) if x is not None]
        if not all(math.isfinite(x) for x in numbers):
            raise ValueError(f"{self.name}: a figure holds no NaN and no infinity.")
        if (self.value is None) != bool(self.undefined):
            raise ValueError(f"{self.name}: a figure has a value, or says why it has none.")

    @property
    def value_words(self) -> str:
        """ "87.2 %" or "0.42"; an en dash when undefined."""
        return self.in_words(self.value)

    @property
    def interval_words(self) -> str:
        """ "84.7–89.3 %" or "0.30 to 0.55"; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        if self.scale == "share":
            return f"{100 * self.low:.1f}–{percent(self.high)}"
        return f"{decimal(self.low)} to {decimal(self.high)}"

    def in_words(self, number: float | None) -> str:
        if number is None:
            return "–"
        return percent(number) if self.scale == "share" else decimal(number)

    def named(self, name: str) -> Figure:
        return replace(self, name=name)


def undefined(name: str, scale: Scale, why: str, *, n: int = 0) -> Figure:
    return Figure(name, scale, n, float(n), undefined=why, sentence=why)


def percent(share: float) -> str:
    """ "87.2 %", the sign never alone on a line."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def decimal(number: float) -> str:
    """Two decimals with a real minus sign; never "−0.00"."""
    words = f"{number:.2f}"
    return "0.00" if words == "-0.00" else words.replace("-", "−")


def counted(number: int, thing: str) -> str:
    """ "1 path", "1,200 paths"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
