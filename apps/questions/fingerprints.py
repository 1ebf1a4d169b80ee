"""When two texts are the same question: normalisation and the two fingerprints (DESIGN: identity of a question).

Only the way of writing is folded: Unicode compatibility forms, case, white space, invisible marks, and the
punctuation a text ends with (`… is due to`, `… is due to:-`). Symbols and inner punctuation stay, for they can be
the whole difference between two options: `↓ ↓ ↓` and `↓ ↑ ↓`, `A+` and `A-`, `1.5` and `15`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import blake2b

# Soft hyphen, zero-width and bidirectional marks, word joiner, byte order mark, variation selectors.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_FIELD = "\x1f"  # white space to str.split, so no normalised text holds it and joins are unambiguous
_PART = "\x1e"
_STEM_ENDS = " .:;,?!_-–—"
_OPTION_ENDS = " .:;,"  # never a hyphen or minus: `Rh -` is not `Rh`


def fingerprint(stem: str, options: Sequence[str], contexts: Sequence[Mapping[str, str]] = ()) -> str:
    """32 hex digits of stem, options in any order, and contexts where there are any.

    Contexts count because PubMedQA's options are always yes / no / maybe: the same stem about another abstract is
    another question (`stem_fingerprint` still finds it).
    """
    parts = [_without_end(normalise(stem), _STEM_ENDS), _FIELD.join(sorted(map(normalise_option, options)))]
    if contexts:
        parts.append(_FIELD.join(normalise(context["text"]) for context in contexts))
    return _digest(_PART.join(parts))


def stem_fingerprint(stem: str) -> str:
    """32 hex digits of the stem alone, looser: all punctuation is white space. Finds the same stem with other options."""
    text = normalise(stem)
    return _digest(" ".join(text.translate(PUNCTUATION_AS_SPACE).split()) or text)


def normalise_option(text: str) -> str:
    """The form in which two options, or two keys, are compared across questions."""
    return _without_end(normalise(text), _OPTION_ENDS)


def normalise(text: str) -> str:
    """NFKC, case, white space and invisible marks folded; idempotent."""
    return spell(text).casefold() if text.isascii() else spell(spell(text).casefold())


def spell(text: str) -> str:
    """`normalise` that keeps case, for texts of one question, where it can matter (`AA` / `aa` as genotypes)."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return " ".join(text.split())


def _without_end(text: str, ends: str) -> str:
    return text.rstrip(ends) or text


class _PunctuationAsSpace(dict[int, str]):
    """For str.translate: Unicode punctuation (P*) becomes a space, symbols (S*) stay; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character).startswith("P") else character
        return self[code]


PUNCTUATION_AS_SPACE = _PunctuationAsSpace()


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
