"""A path as a person reads it: numbered sentences in paragraphs, the opening folded, the conclusion to jump to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from apps.reasoning.sentences import Sentence, conclusion_index, opening_length, split_sentences
from apps.reasoning.stances import stances

FOLD = 3  # so many unchanged sentences in a row, and more, are folded in a comparison


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    text: str
    cited: bool


STANCES = {"for": "For", "against": "Against", "wavers": "Wavers", "named": "Named only", "silent": "Not named"}
SHOWN = 6  # sentences a stance links to, the last ones


@dataclass(frozen=True, slots=True)
class Said:
    """What the path says about one option."""

    letter: str
    words: str
    sentences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    opening: tuple[Line, ...]
    paragraphs: tuple[tuple[Line, ...], ...]
    conclusion: int
    count: int
    stances: tuple[Said, ...]

    @property
    def minutes(self) -> int:
        """At 220 words a minute, at least one."""
        words = sum(len(line.text.split()) for lines in (self.opening, *self.paragraphs) for line in lines)
        return max(1, round(words / 220))


def read_path(text: str, *, stem: str = "", options: Sequence[str] = (), cited: Iterable[int] = ()) -> Reading:
    sentences = split_sentences(text)
    marked = set(cited)
    lines = {s.number: Line(s.number, s.text, s.number in marked) for s in sentences}
    folded = opening_length(sentences, stem)
    folded = folded if folded > 1 and not marked & set(range(1, folded + 1)) else 0
    rest = groupby(sentences[folded:], key=lambda s: s.line)
    return Reading(
        tuple(lines[s.number] for s in sentences[:folded]),
        tuple(tuple(lines[s.number] for s in group) for _, group in rest),
        conclusion_index(sentences),
        len(sentences),
        tuple(Said(o, STANCES[s.stance], s.sentences[-SHOWN:]) for o, s in stances(sentences, options).items()),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """`kind` is same, cut, add or gap; a gap holds the unchanged sentences it folds."""

    kind: str
    sentences: tuple[Sentence, ...]

    @property
    def first(self) -> int:
        return self.sentences[0].number

    @property
    def last(self) -> int:
        return self.sentences[-1].number


@dataclass(frozen=True, slots=True)
class Comparison:
    changes: tuple[Change, ...]
    added: int
    removed: int
    unchanged: int


def compare_texts(before: str, after: str) -> Comparison:
    """Sentence by sentence; spaces and case apart do not count as a change."""
    old, new = split_sentences(before), split_sentences(after)
    matcher = SequenceMatcher(None, [_plain(s) for s in old], [_plain(s) for s in new], autojunk=False)
    changes: list[Change] = []
    added = removed = unchanged = 0
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            unchanged += i2 - i1
            changes += _folded(new[j1:j2], at_start=j1 == 0, at_end=j2 == len(new))
            continue
        removed, added = removed + i2 - i1, added + j2 - j1
        changes += [Change("cut", (s,)) for s in old[i1:i2]] + [Change("add", (s,)) for s in new[j1:j2]]
    return Comparison(tuple(changes), added, removed, unchanged)


def _folded(same: list[Sentence], *, at_start: bool, at_end: bool) -> list[Change]:
    """One sentence of context beside a change; longer runs between are folded."""
    head, tail = 0 if at_start else 1, 0 if at_end else 1
    middle = same[head : len(same) - tail]
    if len(middle) < FOLD:
        return [Change("same", (s,)) for s in same]
    context_after = [Change("same", (s,)) for s in same[:head]]
    context_before = [Change("same", (s,)) for s in same[len(same) - tail :]]
    return [*context_after, Change("gap", tuple(middle)), *context_before]


def _plain(sentence: Sentence) -> str:
    return " ".join(sentence.text.split()).casefold()
