"""Rows of the published scripts' interchange form: a question with its options, its answer, and paths by model and sample.

`question`, `options` (a list, or an object of letters), `answer` (an option's text or letter), `model<i>_COT<j>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from apps.questions.fingerprints import normalise_option, spell
from apps.questions.importers.base import Problem, RowError, members, shown, text_of
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import rows
from apps.questions.text import LETTERS
from apps.reasoning.cleaning import clean_path, sanitize_text

_COT = re.compile(r"model\d+_COT\d+", re.IGNORECASE)
_UNDECODED = re.compile("[\udc80-\udcff]")  # how a byte that is no UTF-8 comes out of SourceFile


class Told(NamedTuple):
    """A path as it came and as it is read."""

    raw: str
    text: str


@dataclass(frozen=True, slots=True)
class PathRow:
    """`keys`: the options that `answer` can mean (0-based; two where a text reads like a letter). `paths`: by
    (generator, sample), both 0-based; `missing` names the fields without one."""

    line: int
    question: str
    options: tuple[str, ...]
    keys: frozenset[int]
    paths: dict[tuple[int, int], Told]
    missing: tuple[str, ...]


def read_path_rows(source: SourceFile, *, generators: int, samples: int) -> Iterator[PathRow | Problem]:
    """Each row of a JSON array or of JSON Lines. Raises FileRefused for what cannot be read past."""
    for line, record in rows(source):
        try:
            if isinstance(record, RowError):
                raise record
            yield _parse(line, members(record, "paths"), generators, samples)
        except RowError as error:
            yield Problem(source.name, line, error.field, error.message)


def _parse(line: int, record: dict[str, Any], generators: int, samples: int) -> PathRow:
    fields = {f"model{g + 1}_COT{s + 1}": (g, s) for g in range(generators) for s in range(samples)}
    if strange := [name for name in record if _COT.fullmatch(name) and name not in fields]:
        raise RowError(
            strange[0],
            f"a path for which no generator or temperature was named ({generators} generators × {samples} samples expected)",
        )
    options = _options(record.get("options"))
    paths = {place: told for name, place in fields.items() if (told := _reply(record.get(name), name))}
    if not paths:
        raise RowError("model1_COT1", "the row holds no path")
    return PathRow(
        line=line,
        question=text_of(record.get("question"), "question"),
        options=options,
        keys=_keys(record.get("answer"), options),
        paths=paths,
        missing=tuple(name for name, place in fields.items() if place not in paths),
    )


def _options(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        letters = sorted(str(letter).strip().upper() for letter in value)
        if "".join(letters) != LETTERS[: len(letters)]:
            raise RowError("options", f"letters must run from A without a gap, not {shown(list(value))}")
        by_letter = {str(letter).strip().upper(): text for letter, text in value.items()}
        value = [by_letter[letter] for letter in letters]
    if not isinstance(value, list):
        raise RowError("options", f"must be a list of texts or an object of letters, not {shown(value)}")
    if not 2 <= len(value) <= len(LETTERS):
        raise RowError("options", f"{len(value)} options; a question has 2 to {len(LETTERS)}")
    return tuple(text_of(item, "options") for item in value)


def _keys(value: Any, options: tuple[str, ...]) -> frozenset[int]:
    answer = text_of(value, "answer")
    found = {i for i, option in enumerate(options) if spell(option) == spell(answer)}
    found = found or {i for i, option in enumerate(options) if normalise_option(option) == normalise_option(answer)}
    letter = re.fullmatch(r"\(?([A-Za-z])[.)]?", answer)
    if letter and (at := LETTERS.find(letter[1].upper())) in range(len(options)):
        found.add(at)
    if not found:
        raise RowError("answer", f"is neither an option's text nor its letter: {shown(answer)}")
    return frozenset(found)


def _reply(value: Any, field: str) -> Told | None:
    """The reply, storable; None where there is nothing to read in it."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError(field, f"must be text, not {shown(value)}")
    if _UNDECODED.search(value):
        raise RowError(field, "is not UTF-8, or holds half a character; save the file as UTF-8")
    raw = sanitize_text(value)
    text = clean_path(raw)
    return Told(raw, text) if text else None
