"""The practice items: read from `items.json`, shown by the templates of the review screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from apps.questions.models import LETTERS, Benchmark, Question
from apps.reasoning.models import ReasoningPath
from apps.reasoning.sentences import SPLITTER_VERSION, split_sentences
from apps.review.models import Claim, QueueItem, Reason
from apps.review.queues.reveal import Reveal
from apps.review.queues.said import Checked
from apps.review.queues.selectors import ItemView


@dataclass(frozen=True, slots=True)
class PracticeItem:
    """`key` counts from 0; `wrong` are numbers of sentences; `keys` are [key, …, what it does], one list a line."""

    number: int  # 1-based
    title: str
    keys: Sequence[Sequence[str]]
    stem: str
    options: Sequence[str]
    key: int
    path: str
    answer: str
    label: str
    reasons: Sequence[str]
    harm: str
    wrong: Sequence[int]
    judge: dict[str, str]
    explanation: str

    @property
    def key_lines(self) -> list[tuple[list[tuple[bool, str]], str]]:
        """[([(is a key, word), …], what pressing them does), …]"""
        return [([(word != "then", word) for word in line[:-1]], line[-1]) for line in self.keys]


@cache
def practice_items() -> tuple[PracticeItem, ...]:
    rows: list[dict[str, Any]] = json.loads((Path(__file__).parent / "items.json").read_text("utf-8"))
    return tuple(PracticeItem(number=n, **row) for n, row in enumerate(rows, start=1))


def view_practice(item: PracticeItem, *, revealed: bool) -> ItemView:
    """As templates show any item. Its rows are in no database: they carry the texts, nobody saves them."""
    benchmark = Benchmark(slug="practice", name="Practice")
    question = Question(benchmark=benchmark, stem=item.stem, options=list(item.options), key=item.key)
    path = ReasoningPath(question=question, text=item.path, answer=item.answer)
    row = QueueItem(question=question, path=path, position=item.number)
    return ItemView(
        item=row,
        claim=Claim(item=row),
        question=question,
        answer=item.answer,
        sentences=split_sentences(item.path),
        splitter=SPLITTER_VERSION,
        reveal=_reveal(item) if revealed else None,
        gold=None,
        mine=None,
    )


def _reveal(item: PracticeItem) -> Reveal:
    return Reveal(
        label=item.judge["label"],
        correctness=None,
        coherence=None,
        factuality=None,
        reason=item.judge["reason"],
        generator="A practice path",
        temperature=None,
        model="",
        answer=item.answer,
        key=LETTERS[item.key],
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """What a person said against what is known. `beyond`: what they marked and is not known to be wrong."""

    agreed: bool
    found: tuple[int, ...]
    missed: tuple[int, ...]
    beyond: tuple[int, ...]
    reasons_found: tuple[str, ...]  # in words, as those below
    reasons_missed: tuple[str, ...]
    reasons_beyond: tuple[str, ...]


def compare(item: PracticeItem, said: Checked) -> Compared:
    known, marked = set(item.wrong), {n for _, n, _ in said.quoted}
    why, given = set(item.reasons), set(said.reasons)
    return Compared(
        agreed=said.label == item.label,
        found=tuple(sorted(known & marked)),
        missed=tuple(sorted(known - marked)),
        beyond=tuple(sorted(marked - known)),
        reasons_found=_in_words(why & given),
        reasons_missed=_in_words(why - given),
        reasons_beyond=_in_words(given - why),
    )


def _in_words(codes: set[str]) -> tuple[str, ...]:
    return tuple(str(reason.label) for reason in Reason if reason.value in codes)
