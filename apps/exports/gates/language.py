"""Whether a text is in English: letters of other scripts, and too few of the words that all English prose has. Pure."""

from __future__ import annotations

import re

from apps.exports.gates.texts import Hit, Read, Texts, Thresholds

_FOREIGN_LETTERS = 8  # fewer may be a name
_FEWEST_WORDS = 40

# Greek, signs, ligatures and mathematical letters belong to English medical text
_FOREIGN = re.compile(
    r"[\u0400-\u1cff\u2c80-\ua71f\ua800-\ufaff\ufb13-\ufdff\ufe70-\ufefc\uff66-\uffdc\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = "".join(chr(n) if chr(n).isalpha() else " " for n in range(128))  # what ASCII has for `_WORD`, and blanks
_COMMON = (
    "a an and are as at be because been but by can could does for from had has have he her his i if in into is it its "
    "let may more most no not of on or s she should so than that the their them then there these they this to was we "
    "were what when which while who will with would you"
)
_STOP_WORDS = frozenset(_COMMON.split())


def foreign(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    return _other_script(read, t) or _few_stop_words(read, t)


def _other_script(read: Read, t: Thresholds) -> Hit | None:
    if read.text.isascii() or not _FOREIGN.search(read.text):
        return None
    found = [m.start() for m in _FOREIGN.finditer(read.text) if m[0].isalpha()]
    if len(found) < _FOREIGN_LETTERS or len(found) < t.foreign_share * sum(c.isalpha() for c in read.text):
        return None
    return Hit("language", read.part, f"{len(found):,} letters of other scripts", found[0])


def _few_stop_words(read: Read, t: Thresholds) -> Hit | None:
    """Counted with the marks that stand at words first, which finds fewer of them; only then letter by letter."""
    if sum(map(_STOP_WORDS.__contains__, read.words)) >= t.stop_word_share * len(read.words):
        return None
    words = read.low.translate(_LETTERS).split() if read.low.isascii() else _WORD.findall(read.low)
    common = sum(map(_STOP_WORDS.__contains__, words))
    if len(words) < _FEWEST_WORDS or common >= t.stop_word_share * len(words):
        return None
    return Hit("language", read.part, f"{common} common English words among {len(words):,}")
