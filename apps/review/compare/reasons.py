"""What became of a reason given against a path, in another path: a suggestion by a stated rule, for a person to settle. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from apps.reasoning.sentences import split_sentences
from apps.review.compare.diff import plain

RULE = (
    "Suggested: a reason counts as fixed when the words it quotes and the sentences it points to are gone from the other "
    "path, as still there when one of them stands there word for word, and as new when it is given against the later path "
    "and what it points to does not stand in the earlier one. A reason that points to nothing gets no suggestion."
)
SHORTEST_QUOTE = 8  # characters; shorter quotes stand in any text
_QUOTES = re.compile(r"“([^“”]+)”|\"([^\"]+)\"|«([^«»]+)»|‘([^‘’]+)’(?!\w)")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a reason points to in the path it was given against: quoted words, and whole sentences; all as compared."""

    quotes: tuple[str, ...]
    sentences: tuple[str, ...]
    numbers: tuple[int, ...]  # of the sentences in that path that it points to, or that hold its quotes

    @property
    def nothing(self) -> bool:
        return not self.quotes and not self.sentences


def split_reason(reason: str) -> list[str]:
    """A list of reasons, one a line with bullets or numbers, taken apart; otherwise the reason whole."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    items = [_BULLET.sub("", line) for line in lines if _BULLET.match(line)]
    return items if len(items) > 1 and len(items) == len(lines) else [reason.strip()]


def evidence_of(reason: str, *, path: str, pointed: Iterable[int] = ()) -> Evidence:
    """`pointed`: numbers of sentences in `path` that the reason's verdict names. Quotes that `path` has not are left out."""
    sentences = split_sentences(path)
    whole = plain(path)
    quotes = tuple(dict.fromkeys(q for q in _quoted(reason) if q in whole))
    wanted = set(pointed)
    named = [s for s in sentences if s.number in wanted]
    holding = [s for s in sentences if any(q in plain(s.text) for q in quotes)]
    numbers = tuple(sorted({s.number for s in (*named, *holding)}))
    return Evidence(quotes, tuple(plain(s.text) for s in named) if not quotes else (), numbers)


def suggest(evidence: Evidence, other: str) -> str:
    """`fixed` or `present` in the text `other`; "" where the reason points to nothing."""
    if evidence.nothing:
        return ""
    whole, sentences = plain(other), {plain(s.text) for s in split_sentences(other)}
    stands = any(q in whole for q in evidence.quotes) or any(s in sentences for s in evidence.sentences)
    return "present" if stands else "fixed"


def suggest_new(evidence: Evidence, before: str) -> str:
    """For a reason given against the later path: `new`, or `present` where the earlier one said it already."""
    found = suggest(evidence, before)
    return "new" if found == "fixed" else found


def _quoted(reason: str) -> list[str]:
    """Quotes long enough to tell; an ellipsis inside one parts it."""
    found = []
    for match in _QUOTES.finditer(reason):
        whole = next(group for group in match.groups() if group)
        found += [plain(piece) for piece in re.split(r"…|\.\.\.", whole)]
    return [q for q in found if len(q) >= SHORTEST_QUOTE and " " in q]
