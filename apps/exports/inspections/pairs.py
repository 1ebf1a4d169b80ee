"""Two questions beside each other, with what differs marked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from apps.exports.models_checks import InspectionPair
from apps.questions.fingerprints import normalise, normalise_option
from apps.questions.models import Question
from apps.review.compare.diff import Part, mark_words, plain

MOST_WORDS = 1_500  # of both stems together; longer ones are shown unmarked
_WORD = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Side:
    question: Question
    stem: tuple[Part, ...]
    options: list[tuple[str, str, bool, bool]]  # letter, text, whether the other side has it too, whether it is the key
    contexts: int
    same_contexts: bool

    @property
    def stem_html(self) -> SafeString:
        """With what differs marked; in one piece, for a page of ten pairs has hundreds of parts."""
        texts = ((escape(part.text), part.changed) for part in self.stem)
        return mark_safe("".join(f"<mark>{text}</mark>" if changed else text for text, changed in texts))  # noqa: S308


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
    stems = _marked(left.stem, right.stem)
    options = tuple({normalise_option(text) for text in q.options} for q in (left, right))
    texts = tuple([c["text"] for c in q.contexts] for q in (left, right))
    same = texts[0] == texts[1] or [*map(normalise, texts[0])] == [*map(normalise, texts[1])]
    return PairView(
        pair,
        _side(left, stems[0], shared=options[1], same_contexts=same),
        _side(right, stems[1], shared=options[0], same_contexts=same),
    )


def _side(one: Question, stem: tuple[Part, ...], *, shared: set[str], same_contexts: bool) -> Side:
    key = one.key_letter
    options = [(letter, text, normalise_option(text) in shared, letter == key) for letter, text in one.lettered]
    return Side(one, stem, options, len(one.contexts), same_contexts)


def _marked(left: str, right: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """As `mark_words`, which looks only at what lies between the words that both begin and end with: near-duplicates share
    most."""
    a, b = _WORD.findall(left), _WORD.findall(right)
    if len(a) + len(b) > MOST_WORDS:
        return (Part(left, False),), (Part(right, False),)
    most = min(len(a), len(b))
    start = next((n for n in range(most) if plain(a[n]) != plain(b[n])), most)
    end = next((n for n in range(most - start) if plain(a[-1 - n]) != plain(b[-1 - n])), most - start)
    between = mark_words("".join(a[start : len(a) - end]), "".join(b[start : len(b) - end]))
    return _around(a, between[0], start, end), _around(b, between[1], start, end)


def _around(words: list[str], between: tuple[Part, ...], start: int, end: int) -> tuple[Part, ...]:
    head, tail = "".join(words[:start]), "".join(words[len(words) - end :])
    return tuple(part for part in (Part(head, False), *between, Part(tail, False)) if part.text)
