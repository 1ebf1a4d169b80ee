"""Which sets a manifest names: their files, columns and sizes. Shared by all that describes an export to a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apps.exports.forms import names
from apps.exports.records import TITLES, VARIANTS

ORDER: tuple[str, ...] = (*VARIANTS, "messages", "preferences", "steps")


@dataclass(frozen=True, slots=True)
class SetFiles:
    name: str
    title: str
    records: int
    format: str
    files: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """What a loader finds its files by."""
        return f"{self.name}-*.parquet" if self.format == "parquet" else f"{self.name}.{self.format}"


def sets_of(manifest: Mapping[str, Any]) -> Iterator[SetFiles]:
    """The sets a loader may take, in their fixed order; those without a record are none."""
    titles: dict[str, str] = {str(name): title for name, title in (*TITLES.items(), *names.TITLES.items())}
    by_name = {s["set"]: s for s in manifest["merkle"]["sets"]}
    for name in ORDER:
        if (found := by_name.get(name)) and found["records"]:
            yield SetFiles(name, titles[name], found["records"], manifest["format"], tuple(found["files"]))
