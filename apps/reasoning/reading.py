"""A path as a person reads it: numbered sentences in paragraphs, the opening folded, the conclusion to jump to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from apps.reasoning.sentences import conclusion_index, opening_length, split_sentences
from apps.reasoning.stances import stances


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
