"""Two questions beside each other, with what differs marked."""

from __future__ import annotations

from dataclasses import dataclass

from apps.exports.models_checks import InspectionPair
from apps.questions.fingerprints import normalise, normalise_option
from apps.questions.models import Question
from apps.review.compare.diff import Part, mark_words

MOST_WORDS = 1_500  # of both stems together; longer ones are shown unmarked


@dataclass(frozen=True, slots=True)
class Side:
    question: Question
    stem: tuple[Part, ...]
    options: list[tuple[str, str, bool]]  # letter, text, whether the other side has it too
    contexts: int
    same_contexts: bool


@dataclass(frozen=True, slots=True)
class PairView:
    pair: InspectionPair
    left: Side
    right: Side

    @property
    def percent(self) -> str:
        """Never 100 % unless all is shared."""
        return f"{min(self.pair.similarity * 100, 99.9) if self.pair.similarity < 1 else 100:.1f}".removesuffix(".0")


def view_of(pair: InspectionPair) -> PairView:
    left, right = pair.left, pair.right
    short = len(left.stem.split()) + len(right.stem.split()) <= MOST_WORDS
    stems = mark_words(left.stem, right.stem) if short else ((Part(left.stem, False),), (Part(right.stem, False),))
    return PairView(pair, _side(left, right, stems[0]), _side(right, left, stems[1]))


def _side(one: Question, other: Question, stem: tuple[Part, ...]) -> Side:
    theirs = {normalise_option(text) for text in other.options}
    options = [(letter, text, normalise_option(text) in theirs) for letter, text in one.lettered]
    texts, their_texts = ([normalise(c["text"]) for c in q.contexts] for q in (one, other))
    return Side(one, stem, options, len(texts), texts == their_texts)
