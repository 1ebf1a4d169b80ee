"""A question's vignette in blocks: paragraphs, and the lines of laboratory values kept as tables. Pure.

Nothing is left out and nothing is reworded: put together again, the blocks are the stem without its blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from apps.review.screen.units import find_values


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `other` is the value it ends with in the other units, `system` which those are."""

    text: str
    other: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: name and value, or a heading (`value` empty)."""

    name: str
    value: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Either `pieces` (a paragraph) or `rows` (a table)."""

    pieces: tuple[Piece, ...] = ()
    rows: tuple[Row, ...] = ()


SHORTEST_TABLE = 2  # rows with values


def read_blocks(paragraphs: Sequence[str]) -> list[Block]:
    """`paragraphs` are the stem's lines, none of them empty."""
    blocks: list[Block] = []
    at = 0
    while at < len(paragraphs):
        rows, taken = _rows(paragraphs[at:])
        if sum(bool(row.value) for row in rows) >= SHORTEST_TABLE:
            blocks.append(Block(rows=tuple(rows)))
            at += taken
        else:
            blocks.append(Block(pieces=with_values(paragraphs[at])))
            at += 1
    return blocks


def with_values(text: str, before: str = "") -> tuple[Piece, ...]:
    """`before`: what stands directly before `text`, and names what its values are of."""
    pieces, done = [], 0
    offset = len(before) + 1 if before else 0
    for found in find_values(f"{before} {text}" if before else text):
        start, end = found.start - offset, found.end - offset
        if start < done:
            continue
        pieces.append(Piece(text[done:end], found.other, found.system))
        done = end
    return (*pieces, Piece(text[done:])) if done < len(text) else tuple(pieces)


_LONGEST = 90
_VALUE = re.compile(
    r"(?P<name>[A-Za-zα-ωΑ-Ω][^:=]{0,48}?)(?P<gap>\s*[:=]\s*|\s+)"
    r"(?P<value>(?:[<>≤≥~+]\s*)?\.?\d.*|negative|positive|absent|present|none|nil|normal|trace|within normal limits)$",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-zα-ω][\w α-ω,()+²⁺³⁻/-]{1,40}:?$")
_ALONE = re.compile(r"(?:[<>≤≥]\s*)?\d[\d.,]*\s*(?:%|[a-zµμ/]+\S*(?: ?H[g2]O?)?)?$", re.IGNORECASE)
_SENTENCE = re.compile(
    r"[a-z)][.?!](?:\s|$)|\b(?:is|are|was|were|has|had|the|which|shows?|after|with)\b", re.IGNORECASE
)


def _rows(lines: Sequence[str]) -> tuple[list[Row], int]:
    """The table that begins here, and how many lines it takes; a heading at its end belongs to what follows."""
    rows: list[Row] = []
    ends, taken, at = 0, 0, 0
    while at < len(lines):
        line = lines[at]
        following = lines[at + 1] if at + 1 < len(lines) else ""
        titled = _NAME.match(line) and not _SENTENCE.search(line)
        if match := _value_line(line):
            name = match["name"].rstrip()
            rows.append(Row(name, with_values(match["value"], name)))
            at += 1
        elif titled and _ALONE.match(following):
            name = line.rstrip(": ")
            rows.append(Row(name, with_values(following, name)))
            at += 2
        elif titled:  # "Serum": a heading, if values follow
            rows.append(Row(line.rstrip(": ")))
            at += 1
            continue
        else:
            break
        ends, taken = len(rows), at
    return rows[:ends], taken


def _value_line(line: str) -> re.Match[str] | None:
    if len(line) > _LONGEST or _SENTENCE.search(line):
        return None
    return _VALUE.match(line)
