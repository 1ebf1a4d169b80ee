"""What is made of a page for the further forms of an export, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from apps.exports.forms.names import FormName
from apps.exports.lines import Lines


class OwnMade(NamedTuple):
    """Of a form that counts on its own. `trail`: a line for each record, without its number and what stands before it."""

    lines: Lines
    trail: list[bytes]
    questions: int


@dataclass(slots=True)
class FormsMade:
    messages: Lines | None = None
    table: bytes = b""  # rows of the CSV
    own: dict[FormName, OwnMade] = field(default_factory=dict)
    steps: int = 0
    wrong: int = 0
