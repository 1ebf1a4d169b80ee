"""Which benchmark a file looks like, so that a file given to the wrong importer is told apart from a damaged one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from typing import Any

from apps.questions.importers.base import FileRefused
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import first_character, keyed_rows, rows

_SIGNS = {
    "medmcqa": ({"opa", "opb"}, {"cop", "opa"}),
    "pubmedqa": ({"QUESTION", "CONTEXTS"}, {"QUESTION", "final_decision"}),
    "medqa": ({"question", "answer_idx"},),
    "paths": ({"model1_COT1"},),
}
_NAMES = {"medqa": "MedQA", "medmcqa": "MedMCQA", "pubmedqa": "PubMedQA", "mmlu": "MMLU"}


def refuse_other_benchmark(source: SourceFile, wanted: str) -> None:
    """Raise FileRefused where the first row is clearly another benchmark's; damage is left to the reader to name."""
    found = looks_like(source)
    if found is None or found == wanted:
        return
    if found == "paths":
        raise FileRefused("holds reasoning paths, not a benchmark; use `manage.py import_paths`")
    raise FileRefused(f"looks like a {_NAMES[found]} file, not {_NAMES[wanted]}; use `import_questions {found}`")


def looks_like(source: SourceFile) -> str | None:
    """A benchmark's slug, "paths" for a file of model answers, None where nothing is clear."""
    first = first_character(source)
    if first not in ("{", "["):
        return "mmlu" if _has_six_cells(source) else None
    try:
        names = _first_names(source, first)
    except FileRefused:
        return None
    return next((slug for slug, signs in _SIGNS.items() if any(sign <= names for sign in signs)), None)


def _first_names(source: SourceFile, first: str) -> set[str]:
    """The member names of the first row, whether it is a JSON line, an array's element or a keyed object."""
    if first == "[":
        _line, record = next(rows(source), (0, None))
        return _names(record)
    names: set[str] = set()
    for _line, name, value in islice(_first_object(source), 30):
        if isinstance(value, dict) and not names and name.isdigit():
            return _names(value)
        names.add(name)
    return names


def _first_object(source: SourceFile) -> Iterator[tuple[int, str, Any]]:
    """The members of the file's first object; what follows it (more JSON lines) is not looked at."""
    members = keyed_rows(source)
    while True:
        try:
            yield next(members)
        except (StopIteration, FileRefused):
            return


def _names(record: Any) -> set[str]:
    return set(record) if isinstance(record, dict) else set()


def _has_six_cells(source: SourceFile) -> bool:

    _number, line = next(source.lines())
    cells = next(csv.reader([(line or b"").decode("utf-8", "replace")]), [])
    return len(cells) == 6
