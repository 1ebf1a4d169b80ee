"""What a path says about each option, for the strip above its text. Pure.

A heuristic on clauses, to find one's way and never to judge by: an option is looked for by its letter or its words;
a clause that turns it down counts against it, one that favours it for it, any other only names it. Irony, paraphrase
and arguments spread over sentences are missed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from apps.reasoning.option_text import Options, fold, plain, prepare_options
from apps.reasoning.sentences import Sentence

Stance = Literal["for", "against", "wavers", "named", "silent"]
_Lean = Literal["for", "against", "named"]


@dataclass(frozen=True, slots=True)
class OptionStance:
    stance: Stance
    sentences: tuple[int, ...]  # numbers, in order; of the sentences that make the stance


def stances(sentences: Sequence[Sentence], options: Sequence[str]) -> dict[str, OptionStance]:
    """{"A": OptionStance("against", (12, 40)), …}, one for each option.

    A path that speaks both for and against an option wavers, unless it ends on it: what the last two opinions
    agree on stands.
    """
    known = prepare_options(options)
    said: dict[str, list[tuple[int, _Lean]]] = {letter: [] for letter in known.letters}
    topic, line, previous = "", 0, ""
    for sentence in sentences:
        if sentence.line != line:
            topic, line = "", sentence.line
        text = plain(sentence.text).strip()
        leans = dict(_leans(text, known))
        heading = _HEADING.match(text)
        if heading and heading[1] in known.letters:
            topic = heading[1]
        elif not leans and topic:
            lean = _lean(text)
            leans = {topic: lean} if lean != "named" else {}
        if len(leans) == 1 and (_announces(previous) or len(text) == 1):  # "the answer is:" / a line with one letter
            leans = {letter: "for" if lean == "named" else lean for letter, lean in leans.items()}
        previous = text
        for letter, lean in leans.items():
            said[letter].append((sentence.number, lean))
    return {letter: _sum_up(opinions) for letter, opinions in said.items()}


def _sum_up(opinions: list[tuple[int, _Lean]]) -> OptionStance:
    if not opinions:
        return OptionStance("silent", ())
    held = [(number, lean) for number, lean in opinions if lean != "named"]
    if not held:
        return OptionStance("named", tuple(number for number, _ in opinions))
    leans = [lean for _, lean in held]
    if len(set(leans)) == 1 or (len(leans) > 2 and leans[-1] == leans[-2]):
        last = leans[-1]
        return OptionStance(last, tuple(number for number, lean in held if lean == last))
    return OptionStance("wavers", tuple(number for number, _ in held))


def _announces(text: str) -> bool:
    return text.endswith(":") and _lean(text) == "for"


# Where an option is named, and how its clause leans

_HEADING = re.compile(r"[\s>#(\"'-]*(?:\d+[.)]\s*)?\(?(?:[Oo]ption |[Cc]hoice )?\(?([A-J])\)?\s?[.:)]")
_LETTER = re.compile(
    r"\(([A-J])\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer(?: is)?:?) \(?([A-J])\b|^[\s>#\"'-]*\(?([A-J])[.:)]|"
    r"\b(?:is|be|with|choose|select|and|or|,) ([B-HJ])(?=[.,;:!?)]|\s*$)|^([A-J])$"
)
_TURN = re.compile(
    r"[;?!]|,\s|\s-\s|\b(?:but|while|whereas|although|though|however|rather than|instead of|because|since|not)\b"
)
_AGAINST = re.compile(
    r"\b(?:not|never|cannot|neither|nor|incorrect|wrong|unlikely|less (?:likely|appropriate|relevant|common)|rul(?:e|ed|es|ing) out|"
    r"exclud\w+|eliminat\w+|inappropriate|contraindicated|inconsistent|irrelevant|rather than|instead of|unrelated|"
    r"insufficient|harmful|fails?|lacks?|without|rare(?:ly)?)\b|n't\b",
    re.IGNORECASE,
)
_FOR = re.compile(
    r"\b(?:answer|correct|right|best|most (?:likely|appropriate|consistent|suitable|fitting|plausible|relevant)|fits?|"
    r"consistent with|supports?|aligns?|matches|explains|points? to|first-line|should be|would be|"
    r"(?:indicated|appropriate)(?! (?:for|if|in|only|when)\b))\b",  # "indicated for ruptured ones" says when, not that it is
    re.IGNORECASE,
)
_QUESTION = re.compile(r"\?\W*$")


def _leans(text: str, known: Options) -> Iterator[tuple[str, _Lean]]:
    """The lean of each naming: of its clause, up to another option on either side."""
    named = _named(text, known)
    if not named:
        return
    turns = [0, *(m.start() for m in _TURN.finditer(text))]
    asks = _QUESTION.search(text, max(0, len(text) - 40)) is not None
    until = [len(text)] * len(named)  # where the next other option is named
    for i in range(len(named) - 2, -1, -1):
        until[i] = named[i + 1][0] if named[i + 1][2] != named[i][2] else until[i + 1]
    other_ends, end_of_run = 0, 0
    for i, (start, end, letter) in enumerate(named):
        if i and named[i - 1][2] != letter:
            other_ends = end_of_run
        end_of_run = end
        first = max(turns[bisect_right(turns, max(start - 1, 0)) - 1], other_ends, start - _CLAUSE)
        yield letter, "named" if asks else _lean(text[first:start] + " " + text[end : min(until[i], end + _CLAUSE)])


_CLAUSE = 300  # characters looked at on either side


def _lean(clause: str) -> _Lean:
    if _AGAINST.search(clause):
        return "against"
    return "for" if _FOR.search(clause) else "named"


def _named(text: str, known: Options) -> list[tuple[int, int, str]]:
    """(start, end, letter) in order; a letter beside its option's words is one naming."""
    found = [(s, e, letters) for s, e, letters in known.within(fold(text)) if len(letters) == 1]
    near = {(letter, at) for s, e, letter in found for at in range(s - 3, e + 4)}
    for match in _LETTER.finditer(text):
        group = match.lastindex or 0
        letter, (start, end) = match[group], match.span(group)
        if letter in known.letters and not {(letter, start), (letter, end)} & near:
            found.append((start, end, letter))
    return sorted(found)
