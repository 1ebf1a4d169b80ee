"""Which path stands where: the 3 × 3 grid of a run, read from its frozen configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the grid. `index` is its place in `RunQuestion.pattern` and `.answers`."""

    generator: str
    sample: int
    temperature: float | None
    index: int


@dataclass(frozen=True, slots=True)
class Row:
    generator: str
    model: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    rows: tuple[Row, ...]

    @property
    def columns(self) -> int:
        return max((len(row.slots) for row in self.rows), default=0)

    @property
    def paths(self) -> int:
        return sum(len(row.slots) for row in self.rows)

    @property
    def headings(self) -> list[str]:
        """A column's temperature where all generators share it, else its number."""
        heads = []
        for column in range(self.columns):
            found = {row.slots[column].temperature for row in self.rows if column < len(row.slots)}
            same = found.pop() if len(found) == 1 else None
            heads.append(f"T {same}" if same is not None else f"Sample {column + 1}")
        return heads

    @property
    def temperatures(self) -> list[float]:
        return sorted({s.temperature for row in self.rows for s in row.slots if s.temperature is not None})

    @property
    def generators(self) -> list[str]:
        return [row.generator for row in self.rows]


def layout_of(config: Mapping[str, Any]) -> Layout:
    """From `Run.config`."""
    models = {e["name"]: e["model"] for e in config.get("endpoints", ())}
    rows, index = [], 0
    for generator in config.get("generators", ()):
        slots = []
        for sample, temperature in enumerate(generator.get("temperatures", ()), start=1):
            slots.append(Slot(generator["name"], sample, temperature, index))
            index += 1
        rows.append(Row(generator["name"], models.get(generator["endpoint"], ""), tuple(slots)))
    return Layout(tuple(rows))


def uses_simulated_models(config: Mapping[str, Any]) -> bool:
    """Whether any endpoint of the run is the workbench's own simulator."""
    return any(e.get("base_url") == "simulated" for e in config.get("endpoints", ()))
