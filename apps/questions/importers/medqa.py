"""MedQA (USMLE), 4 or 5 options: JSON Lines or an array of {question, answer, options {A..}, answer_idx, …}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apps.questions.fingerprints import normalise_option
from apps.questions.importers.base import (
    ParsedQuestion,
    Problem,
    ReadOptions,
    RowError,
    letter_index,
    members,
    parse_rows,
    shown,
    text_of,
)
from apps.questions.importers.files import SourceFile
from apps.questions.importers.jsonstream import rows
from apps.questions.importers.sniff import refuse_other_benchmark
from apps.questions.text import LETTERS


def read(source: SourceFile, options: ReadOptions) -> Iterator[ParsedQuestion | Problem]:
    refuse_other_benchmark(source, "medqa")
    held_out = options.split == "test"

    def parse(line: int, record: Any) -> ParsedQuestion:
        row = members(record, "MedQA")
        texts = _options(row.get("options"))
        key = letter_index(row.get("answer_idx"), texts, "answer_idx")
        answer = text_of(row.get("answer"), "answer")
        if normalise_option(answer) != normalise_option(texts[key]):
            raise RowError("answer", f"is {shown(answer)}, but answer_idx names {shown(texts[key])}")
        return ParsedQuestion(
            line=line,
            stem=text_of(row.get("question"), "question"),
            options=texts,
            key=key,
            split=options.split,
            held_out=held_out,
            subject=options.subject,
            meta={"exam": exam} if (exam := text_of(row.get("meta_info"), "meta_info", required=False)) else {},
        )

    return parse_rows(source, rows(source), parse)


def _options(value: Any) -> list[str]:
    if not isinstance(value, dict) or not value:
        raise RowError("options", f"must be an object of lettered options, not {shown(value)}")
    letters = sorted(value)
    if letters != list(LETTERS[: len(letters)]):
        raise RowError("options", f"must be lettered from A without a gap, not {shown(letters)}")
    return [text_of(value[letter], f"options.{letter}") for letter in letters]
