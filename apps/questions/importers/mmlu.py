"""MMLU: one CSV a subject, without header: question, A, B, C, D, answer letter. Cells may hold line ends."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.questions.importers.base import (
    FileRefused,
    ParsedQuestion,
    Problem,
    ReadOptions,
    RowError,
    letter_index,
    parse_rows,
    text_of,
)
from apps.questions.importers.files import MAX_ROW, SourceFile
from apps.questions.importers.sniff import refuse_other_benchmark

SUBJECTS = {
    "anatomy": "Anatomy",
    "clinical_knowledge": "Clinical Knowledge",
    "college_biology": "College Biology",
    "college_medicine": "College Medicine",
    "medical_genetics": "Medical Genetics",
    "professional_medicine": "Professional Medicine",
}
_NAME = re.compile(r"(?P<subject>[a-z0-9_]+)_(?P<split>dev|val|test)\.csv(?:\.gz)?")


def read(source: SourceFile, options: ReadOptions) -> Iterator[ParsedQuestion | Problem]:
    refuse_other_benchmark(source, "mmlu")
    held_out = options.split == "test"

    def parse(line: int, record: list[str]) -> ParsedQuestion:
        if len(record) != 6:
            raise RowError("", f"{len(record)} cells; an MMLU row has 6: question, A, B, C, D, answer letter")
        stem, *choices, answer = record
        texts = [text_of(text, letter) for letter, text in zip("ABCD", choices, strict=True)]
        return ParsedQuestion(
            line=line,
            stem=text_of(stem, "question"),
            options=texts,
            key=letter_index(answer, texts, "answer"),
            split=options.split,
            held_out=held_out,
            subject=options.subject,
        )

    return parse_rows(source, _rows(source), parse)


def subject_and_split(path: Path) -> tuple[str, str]:
    """What the published file name says (`anatomy_dev.csv`): ("anatomy", "dev"), or ("", "") for other names."""
    found = _NAME.fullmatch(path.name)
    return (found["subject"], found["split"]) if found else ("", "")


def _rows(source: SourceFile) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(_texts(source), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FileRefused(f"not CSV: {error}", line=line) from error
        if cells:
            yield line, cells


def _texts(source: SourceFile) -> Iterator[str]:
    for number, line in source.lines():
        if line is None:
            raise FileRefused(f"the line is longer than {MAX_ROW // 1024 // 1024} MB", line=number)
        yield line.decode("utf-8", "surrogateescape")
