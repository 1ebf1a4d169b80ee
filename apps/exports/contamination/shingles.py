"""What two questions are compared by: the set of their word n-grams, and how much of it they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from apps.questions.fingerprints import PUNCTUATION_AS_SPACE, normalise, normalise_option

WORDS = 3  # of an n-gram


def shingles(stem: str, options: Sequence[str], contexts: Sequence[Mapping[str, str]] = ()) -> frozenset[str]:
    """Word trigrams of the stem and contexts, punctuation folded away; each option whole, in any order. Never empty."""
    found = {f"o {normalise_option(option)}" for option in options}
    for part, text in (("s", stem), *(("c", context["text"]) for context in contexts)):
        words = split_words(text)
        if len(words) < WORDS:
            found.add(f"{part} {' '.join(words)}")
        else:
            found.update([f"{part} {a} {b} {c}" for a, b, c in zip(words, words[1:], words[2:], strict=False)])
    return frozenset(found)


def split_words(text: str) -> list[str]:
    """Folded words; a text of punctuation alone stays as it is."""
    folded = normalise(text)
    return folded.translate(PUNCTUATION_AS_SPACE).split() or folded.split()


def jaccard(a: AbstractSet[str], b: AbstractSet[str]) -> float:
    """Shared n-grams of all n-grams, 0 to 1; two empty sets are equal."""
    together = len(a | b)
    return len(a & b) / together if together else 1.0
