"""The same claim in other paths: sentences that share their telling words with a marked one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apps.reasoning.sentences import split_sentences

THRESHOLD = 0.5
FEWEST_WORDS = 3
RULE = (
    "A sentence counts as saying the same when at least half of the telling words of both together are the same words "
    "(small words such as “the” and “is” left out), and it has at least three of them."
)
_WORD = re.compile(r"\w+(?:[.,/%-]\w+)*%?")
# what turns a claim round ("not", "no", "nor", "without") is not among them
_SMALL_WORDS = (
    "a an the of to in on at by for from with and or but so as is are was were be been being it its this that "
    "these those he she they his her their there here we i you which who what when where while than then thus therefore "
    "because since would could should may might can will do does did has have had also very more most such "
    "into about over under between both each any all some if option answer patient"
)
_SMALL = frozenset(_SMALL_WORDS.split())


@dataclass(frozen=True, slots=True)
class Match:
    """Sentence `number` of a path says the same as the marked sentence `of`; `share` of their words, 0–1."""

    number: int
    text: str
    of: int
    share: float


def telling_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold())) - _SMALL


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared words among all words of both."""
    return len(a & b) / len(a | b) if a and b else 0.0


def similar_sentences(marked: Mapping[int, str], text: str) -> list[Match]:
    """Sentences of `text` alike to one of the marked ones (number → text), in order, each with its closest."""
    claims = {number: words for number, said in marked.items() if len(words := telling_words(said)) >= FEWEST_WORDS}
    found: list[Match] = []
    for sentence in split_sentences(text):
        words = telling_words(sentence.text)
        if len(words) < FEWEST_WORDS:
            continue
        best = max(((overlap(words, claim), -number) for number, claim in claims.items()), default=(0.0, 0))
        if best[0] >= THRESHOLD:
            found.append(Match(sentence.number, sentence.text, -best[1], best[0]))
    return found


def marked_sentences(text: str, numbers: Iterable[int]) -> dict[int, str]:
    """Number → text of those that the path has."""
    wanted = set(numbers)
    return {s.number: s.text for s in split_sentences(text) if s.number in wanted}
