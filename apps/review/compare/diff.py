"""Two paths beside each other, sentence by sentence, with the words that changed inside a sentence. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

from apps.reasoning.sentences import Sentence, split_sentences

ALIKE = 0.4  # shared words (Dice) from which a removed and an added sentence count as one that was changed
MOST_PAIRS = 40_000  # sentences × sentences of one stretch looked at for pairs; beyond, they stay removed and added
FOLD = 3  # so many unchanged sentences in a row, and more, are folded


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a sentence's characters; joined, the parts give the sentence."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Row:
    """`kind`: same, changed, cut (left alone) or add (right alone)."""

    kind: str
    left: Sentence | None
    right: Sentence | None

    @cached_property
    def parts(self) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """Of the left and of the right sentence."""
        left, right = (s.text if s else "" for s in (self.left, self.right))
        return mark_words(left, right) if self.kind == "changed" else (_whole(left), _whole(right))

    @property
    def sentence(self) -> Sentence:
        """What to read where one side is shown: the right one, if there is one."""
        found = self.right or self.left
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Gap:
    """Unchanged sentences, folded."""

    rows: tuple[Row, ...]
    kind: str = "gap"

    @property
    def first(self) -> int:
        return self.rows[0].sentence.number

    @property
    def last(self) -> int:
        return self.rows[-1].sentence.number


def align(before: str, after: str) -> list[Row]:
    """Every sentence of both texts once, each side in its own order. Spaces, case and end marks apart do not count."""
    old, new = split_sentences(before), split_sentences(after)
    matcher = SequenceMatcher(None, [plain(s.text) for s in old], [plain(s.text) for s in new], autojunk=False)
    rows: list[Row] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            rows += [Row("same", a, b) for a, b in zip(old[i1:i2], new[j1:j2], strict=True)]
        else:
            rows += _changed(old[i1:i2], new[j1:j2])
    return rows


def fold(rows: Sequence[Row]) -> list[Row | Gap]:
    """Long stretches of unchanged sentences become gaps; one sentence of context stays beside each change."""
    folded: list[Row | Gap] = []
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end].kind == "same":
            end += 1
        if end == start:
            folded.append(rows[start])
            start += 1
            continue
        head, tail = int(start > 0), int(end < len(rows))
        inner = rows[start + head : end - tail]
        if len(inner) < FOLD:
            folded += rows[start:end]
        else:
            folded += [*rows[start : start + head], Gap(tuple(inner)), *rows[end - tail : end]]
        start = end
    return folded


def mark_words(left: str, right: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The words of each that the other has not, in their order."""
    a, b = _words(left), _words(right)
    matcher = SequenceMatcher(None, [plain(w) for w in a], [plain(w) for w in b], autojunk=False)
    marked_a: list[Part] = []
    marked_b: list[Part] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        for marked, words in ((marked_a, a[i1:i2]), (marked_b, b[j1:j2])):
            if words:
                marked.append(Part("".join(words), tag != "equal"))
    return tuple(marked_a), tuple(marked_b)


def plain(text: str) -> str:
    """As sentences and words are compared."""
    return " ".join(text.split()).casefold().rstrip(".,;:!? ")


def _changed(old: list[Sentence], new: list[Sentence]) -> list[Row]:
    """Pairs that are alike, in order, and what stands between them: removed before added."""
    rows: list[Row] = []
    i = j = 0
    for a, b in [*_pairs(old, new), (len(old), len(new))]:
        rows += [Row("cut", s, None) for s in old[i:a]] + [Row("add", None, s) for s in new[j:b]]
        if a < len(old):
            rows.append(Row("changed", old[a], new[b]))
        i, j = a + 1, b + 1
    return rows


def _pairs(old: list[Sentence], new: list[Sentence]) -> list[tuple[int, int]]:
    """The crossing-free pairing with the most likeness (longest common subsequence, weighted)."""
    if not old or not new or len(old) * len(new) > MOST_PAIRS:
        return []
    a, b = ([Counter(plain(s.text).split()) for s in side] for side in (old, new))
    best = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    score = [[_likeness(x, y) for y in b] for x in a]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            pair = score[i][j] + best[i + 1][j + 1] if score[i][j] >= ALIKE else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], pair)
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if score[i][j] >= ALIKE and best[i][j] == score[i][j] + best[i + 1][j + 1]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    size = a.total() + b.total()
    return 2 * (a & b).total() / size if size else 0.0


def _words(text: str) -> list[str]:
    """Words with the spaces after them; joined they give the text."""
    return re.findall(r"^\s+|\S+\s*", text)


def _whole(text: str) -> tuple[Part, ...]:
    return (Part(text, False),) if text else ()
