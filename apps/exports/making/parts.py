"""What goes between those who read and make an export's pages and the one who puts them together and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from apps.exports.config import ExportConfig
from apps.exports.forms.parts import FormsMade
from apps.exports.lines import Format, Lines
from apps.exports.records import Variant

if TYPE_CHECKING:
    from apps.exports.gates.keeper import Looked

WHOLE = 0  # in place of a slot: the whole question


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. `snapshot`: whose rows tell what it holds."""

    run_id: int
    variants: tuple[Variant, ...]
    format: Format
    config: ExportConfig
    snapshot: UUID | None = None


class Place(NamedTuple):
    """A page: the questions with ids above `after` and up to `upto`; where the journal holds it, if it does."""

    after: int
    upto: int
    at: int = -1
    size: int = 0

    @property
    def read(self) -> bool:
        return self.at >= 0


class Open(NamedTuple):
    """A question that may leave, unless it matters what left before it."""

    pk: int
    slots: tuple[int, ...]
    looked: tuple[Looked, ...] = ()  # a slot's each, where a gate is on


class PageRead(NamedTuple):
    place: Place
    ids: bytes  # of its questions, and their versions, as arrays of 64-bit integers
    versions: bytes
    records: int  # that may leave
    open: list[Open]  # those they belong to; empty where nobody asks


class Decided(NamedTuple):
    """What the order of the pages says of one."""

    number: int  # of its first record
    out: Mapping[tuple[int, int], str]  # (question id, slot or WHOLE) → why it stays behind


class HeldRows(NamedTuple):
    """Rows of what a snapshot holds and leaves out, as COPY takes them, and how many there are of both."""

    held: bytes
    left_out: bytes
    size: int


@dataclass(slots=True)
class PageMade:
    """`sets`: each as ordered, then the provenance."""

    questions: int
    records: int
    sets: list[Lines]
    forms: FormsMade
    sums: dict[str, Any]  # of a Tally
    left_out: dict[str, int]  # records of questions that leave, by reason
    held: HeldRows | None = None
