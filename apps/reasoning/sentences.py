"""Sentences of a path, numbered once and for good: reasons point to (splitter version, sentence number). Pure.

Any change to where sentences begin needs a new SPLITTER_VERSION.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SPLITTER_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` is exactly the path's characters from `start` to `end`; `line` counts the path's non-empty lines."""

    number: int  # 1-based
    start: int
    end: int
    text: str
    line: int  # 1-based


def split_sentences(text: str) -> list[Sentence]:
    """Sentences in order, covering every non-blank character once. Lines end sentences: items, headings, table rows."""
    sentences: list[Sentence] = []
    line = 0
    for match in _LINE.finditer(text):
        spans = list(_spans(text, match.start(), match.end()))
        line += bool(spans)
        for start, end in spans:
            sentences.append(Sentence(len(sentences) + 1, start, end, text[start:end], line))
    return sentences


_LINE = re.compile(r"[^\n\r]+")
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_`]*+(?=\s)|[。！？]+")
_LABEL = re.compile(r"[\s>#*_(\"'-]*(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\**\s")  # "1. ", "- **B.** ", "iv. "


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the end of a sentence; and those that may be, when a capital follows
_OPENS = _words(
    "dr mr mrs ms prof st vs e.g i.e eg ie cf fig figs no nos approx ca viz resp al gen spp sp subsp var ref refs eq "
    "sect vol ed eds pp"
)
_UNITS = _words(
    "mg ml mcg kg g l dl mmol meq hr hrs min mins sec wk wks mo mos yr yrs i.v i.m s.c p.o p.r.n b.i.d t.i.d q.i.d q.d "
    "q.h a.m p.m iv im sc po bid tid qid prn etc inc dept est jr sr temp"
)
_WORD = re.compile(r"([\w.µ]*)\.$")


def _spans(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    while first < last and text[first].isspace():
        first += 1
    while last > first and text[last - 1].isspace():
        last -= 1
    start = first
    for stop in _STOP.finditer(text, first, last):
        end = stop.end()
        if end <= start or not _ends_sentence(text, start, stop.start(), end, last):
            continue
        yield start, end
        start = end
        while start < last and text[start].isspace():
            start += 1
    if start < last:
        yield start, last


def _ends_sentence(text: str, start: int, mark: int, end: int, last: int) -> bool:
    """Whether the mark at `mark` (closed by quotes and brackets up to `end`) ends the sentence begun at `start`."""
    if text[mark] in "。！？":
        return True
    following = text[end : min(last, end + 40)].lstrip().lstrip("\"'“‘(*_[`")
    if not following:
        return True
    if text[mark] != "." or text[mark : mark + 2] == "..":
        return (text[mark] in "!?" and text[mark] != "…") or not following[0].islower()
    if following[0].islower() and not _MIXED.match(following):
        return False
    label = _LABEL.match(text, start, min(end + 1, start + 40))
    if label and label.end() >= end:
        return False  # the number or letter of an item
    word = _WORD.search(text[max(start, mark - 24) : mark + 1])
    before = word[1].lower() if word else ""
    if before in _OPENS:
        return False
    if before in _UNITS:
        return following[0].isupper() or not following[0].isalnum() or _MIXED.match(following) is not None
    if len(before) == 1 and before.isalpha() and end == mark + 1:
        return not _names_option(text, start, mark, end, last, following)
    return True


_MIXED = re.compile(r"[a-zα-ω]{1,2}[-]?[A-Z0-9]|[α-ω]")  # pH, mRNA, iPTH, β-blockers: capitals that stand low
_BEFORE_LETTER = re.compile(r"(?:[:(]|\b(?:is|be|option|choice|answer|select|choose))[\s*_(\"']*[A-Ja-j]$")
_NEW_SENTENCE = re.compile(
    r"(?:This|That|These|Those|The|It|He|She|They|We|I|In|If|As|So|But|And|Because|Since|Given|However|Therefore|Thus|"
    r"Hence|Although|While|Here|There|For|By|On|At|With|Its|His|Her|Their|Option|Options|Other|Both|Wait|Let|Now|A|An)\b"
)


def _names_option(text: str, start: int, mark: int, end: int, last: int, following: str) -> bool:
    """ "The answer is D. Replace potassium.": the letter and the option's words are one statement; also initials."""
    head = text[max(start, mark - 60) : mark]
    if re.search(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof)\.|\b[A-Z]\.)\s*[A-Z]$", head):
        return True
    if not _BEFORE_LETTER.search(head) or _NEW_SENTENCE.match(following):
        return False
    rest = _STOP.search(text, end, last)
    return head.rstrip("*_(\"' ABCDEFGHIJ").endswith(":") or rest is None or rest.end() == last


# What a page may fold away, and where it may jump

_FILLER = re.compile(
    r"\W*(?:okay|ok|alright|all right|hmm+|right|well|sure|let'?s|let me|let us|first,? (?:let|i)|i need to|i should|"
    r"we need to|to (?:determine|answer|approach|solve|address|identify|find|analy[sz]e|tackle|evaluate)|i'?ll|i will|"
    r"looking at (?:this|the) (?:question|case|scenario)|here(?:'s| is) (?:my|the|a))\b",
    re.IGNORECASE,
)
_RESTATES = re.compile(
    r"\W*(?:so,?|now,?|first,?|and)?\W*(?:the (?:question|scenario|case|situation|problem|vignette|stem|options|choices)|"
    r"we have a|this is a|this question|we(?:'re| are) (?:asked|given|told)|i'?m (?:asked|given)|they(?:'re| are) asking|"
    r"the patient is an? \d|an? \d+[- ](?:year|month|week|day)|#+ |\d+[.)] \**(?:restat|understand|question))",
    re.IGNORECASE,
)
_JUDGES = re.compile(
    r"\b(?:answer is|correct|incorrect|wrong|unlikely|likely|because|suggests?|indicates?|means|rules? out|"
    r"consistent with|due to|diagnos\w+ is)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[^\W_]{3,}")
_MOST_OPENING = 12


def opening_length(sentences: Sequence[Sentence], stem: str = "") -> int:
    """How many first sentences only clear the throat or restate the question (`stem`); never more than a third."""
    known = {word.lower() for word in _WORDS.findall(stem)}
    count = 0
    for sentence in sentences[: min(_MOST_OPENING, len(sentences) // 3)]:
        words = [word.lower() for word in _WORDS.findall(sentence.text)]
        retells = len(words) >= 4 and sum(word in known for word in words) >= 0.7 * len(words)
        opens = _FILLER.match(sentence.text) or _RESTATES.match(sentence.text)
        if not retells and (not opens or _JUDGES.search(sentence.text)):
            break
        count += 1
    return count


_FINAL_HEADING = re.compile(
    r"\W*+(?:\d++[.)]\W*+)?(?:final (?:response|answer|conclusion)|conclusion|in conclusion|in summary)\b",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\W*(?:so,? )?(?:thus|therefore|hence|in conclusion|in summary|to conclude|overall|ultimately|"
    r"based on (?:this|the|these|all)|given (?:this|the|these|all)|(?:the )?(?:final|correct|best) (?:answer|option|choice))\b|"
    r".*\banswer (?:is|should be|would be)\b",
    re.IGNORECASE,
)


def conclusion_index(sentences: Sequence[Sentence]) -> int:
    """The number (1-based) of the sentence where the conclusion begins; 0 where there is no sentence.

    The last heading that announces it, else the first concluding sentence of the last fifth, else the last sentence.
    """
    for sentence in reversed(sentences):
        if _FINAL_HEADING.match(sentence.text):
            return sentence.number
    tail = sentences[-max(3, len(sentences) // 5) :]
    return next((s.number for s in tail if _CONCLUDES.match(s.text)), sentences[-1].number if sentences else 0)
