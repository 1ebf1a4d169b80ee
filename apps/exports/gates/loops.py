"""Whether a text goes round in circles. Pure.

A long text repeats a sentence by chance or for its order ("The options do not have that."), so how often is too often grows
with its length: 3 times under 200 words, once more for each doubling (4 from 200, 6 from 800, 9 from 6,400).
"""

from __future__ import annotations

from collections import Counter

from apps.exports.gates.texts import Hit, Read, Texts, Thresholds

_RUN = 8  # words
_FEWEST_WORDS = 40  # of a text whose runs are counted
_SENTENCE_WORDS = 5  # fewer are a heading, or a phrase anyone uses twice
_SHORTEST = 2 * _SENTENCE_WORDS - 1  # characters of five words
_MARKS = " \t\r*#-_>"


def loop(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    most = times_allowed(len(read.words), t)
    if found := _same_sentence(read.low, most):
        said, times = found
        return Hit("loop", read.part, f"the same sentence {times:,} times", max(0, read.low.find(said)))
    allowed = share_allowed(len(read.words), t)
    share = _repeated_share(read.words, allowed)
    if share > allowed:
        said = f"{100 * share:.0f} % of its runs of {_RUN} words stand in it before"
        return Hit("loop", read.part, said)
    return None


def times_allowed(words: int, t: Thresholds) -> int:
    """From so many times on, the same sentence is a loop in a text of so many words."""
    return t.same_sentence + max(0, (words // 100).bit_length() - 1)


def share_allowed(words: int, t: Thresholds) -> float:
    return t.repeated_share * (2 if words < 200 else 1.5 if words < 400 else 1)


def _same_sentence(low: str, most: int) -> tuple[str, int] | None:
    """(how it is written first, how often) of the sentence said most often, when that is at least `most` times."""
    pieces = low.replace("!", ".").replace("?", ".").replace("\n", ".").split(".")
    longer = [piece.strip(_MARKS) for piece in pieces if len(piece) >= _SHORTEST]
    if len(longer) - len(set(longer)) < most - 1 and not any("  " in piece or "\t" in piece for piece in longer):
        return None  # nothing stands there often enough, and spaces hide nothing
    first: dict[str, str] = {}
    times: Counter[str] = Counter()
    for piece in longer:
        words = piece.split()
        if len(words) >= _SENTENCE_WORDS:
            said = " ".join(words)
            first.setdefault(said, piece)
            times[said] += 1
    said, count = max(times.items(), key=lambda item: item[1], default=("", 0))
    return (first[said], count) if count >= most else None


def _repeated_share(words: list[str], most: float) -> float:
    """Of the runs of eight words, those that stood there before; 0.0 where runs of three already show that they are few."""
    if len(words) < _FEWEST_WORDS:
        return 0.0
    threes = len(words) - 2
    if threes - len(set(zip(words, words[1:], words[2:], strict=False))) <= most * (threes - _RUN):
        return 0.0
    runs = [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]
    return 1 - len(set(runs)) / len(runs)
