"""Tables whose rows carry an interval: positions in per cent, so that a chart needs no style of its own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from apps.review.statistics.figure import Figure, Scale, decimal

STEPS = 5
Row = TypeVar("Row")
Named = tuple[str, Figure]


@dataclass(frozen=True, slots=True)
class Tick:
    at: str
    word: str
    anchor: str  # start, middle, end


@dataclass(frozen=True, slots=True)
class Axis:
    scale: Scale
    low: float
    high: float = 1.0

    @classmethod
    def of(cls, scale: Scale, figures: Iterable[Figure]) -> Axis:
        """From the lowest limit, rounded down to a tenth, to 1; at least two tenths wide."""
        found = [x for f in figures for x in (f.value, f.low) if x is not None]
        low = math.floor(10 * min(found, default=0.0) + 1e-9) / 10
        return cls(scale, max(-1.0, min(low, 0.8)))

    def place(self, number: float) -> str:
        return f"{100 * (min(max(number, self.low), self.high) - self.low) / (self.high - self.low):.2f}%"

    @property
    def ticks(self) -> tuple[Tick, ...]:
        step = next(s for s in (0.05, 0.1, 0.2, 0.25, 0.5) if (self.high - self.low) / s <= STEPS)
        first = math.ceil(self.low / step - 1e-9)
        numbers = [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return tuple(Tick(self.place(n), self._word(n), self._anchor(n)) for n in numbers)

    def _anchor(self, number: float) -> str:
        if number < self.low + 1e-9:
            return "start"
        return "end" if number > self.high - 1e-9 else "middle"

    @property
    def words(self) -> str:
        """ "Scale from 60 to 100 per cent"."""
        unit = " per cent" if self.scale == "share" else ""
        return f"Scale from {self._word(self.low)} to {self._word(self.high)}{unit}"

    def _word(self, number: float) -> str:
        return f"{100 * number:.0f}" if self.scale == "share" else decimal(number)


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure's place on an axis; `at` is empty when it is undefined, `low` and `high` without an interval."""

    at: str = ""
    low: str = ""
    high: str = ""

    @classmethod
    def of(cls, figure: Figure, axis: Axis) -> Mark:
        if figure.value is None:
            return cls()
        if figure.low is None or figure.high is None:
            return cls(axis.place(figure.value))
        return cls(axis.place(figure.value), axis.place(figure.low), axis.place(figure.high))


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    figure: Figure
    mark: Mark


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """One axis for all rows, the whole first; `reference` is where its first figure lies."""

    axis: Axis
    whole: tuple[Line, ...]
    groups: tuple[Group, ...] = ()

    @property
    def reference(self) -> str:
        return self.whole[0].mark.at if self.groups else ""


def forest(scale: Scale, whole: Sequence[Named], groups: Sequence[tuple[str, Sequence[Named]]] = ()) -> Forest:
    """Groups without lines are left out."""
    axis = Axis.of(scale, [f for _, f in whole] + [f for _, lines in groups for _, f in lines])

    def line(name: str, figure: Figure) -> Line:
        return Line(name, figure, Mark.of(figure, axis))

    return Forest(
        axis,
        tuple(line(*one) for one in whole),
        tuple(Group(title, tuple(line(*one) for one in lines)) for title, lines in groups if lines),
    )


def sliced(rows: Iterable[Row], name: Callable[[Row], str], figure: Callable[[list[Row]], Figure]) -> list[Named]:
    """A figure for the rows of each name, by name; rows without a name are left out."""
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if said := name(row):
            by_name[said].append(row)
    return [(said, figure(by_name[said])) for said in sorted(by_name)]


def in_order(lines: Iterable[Named], order: Iterable[str]) -> list[Named]:
    found = dict(lines)
    return [(name, found[name]) for name in order if name in found]


def monday(moment: datetime) -> date:
    """The first day of its week, in UTC."""
    day = moment.date()
    return day - timedelta(days=day.weekday())
