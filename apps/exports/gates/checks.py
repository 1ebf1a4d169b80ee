"""The gates over one record. Pure; no text makes them raise, and each is linear in the text.

Conservative: a gate that calls good records bad is switched off by the people who export, and then finds nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from apps.reasoning.sentences import split_sentences

Gate = Literal[
    "language", "too_short", "too_long", "refusal", "truncated", "leaked_prompt", "loop", "think_tag", "answer", "twin"
]
Part = Literal["cot", "response"]
GATE_WORDS: dict[Gate, str] = {
    "language": "not in English",
    "too_short": "too short",
    "too_long": "too long",
    "refusal": "a refusal",
    "truncated": "cut off",
    "leaked_prompt": "text of the prompt leaked",
    "loop": "repeats itself",
    "think_tag": "thinking tags left over",
    "answer": "states another answer than the key",
    "twin": "same reasoning as another record of its question",
}
GATES: tuple[Gate, ...] = tuple(GATE_WORDS)
EXCERPT = 160


@dataclass(frozen=True, slots=True)
class Thresholds:
    cot_words: tuple[int, int] = (30, 4_000)  # fewest and most
    response_words: tuple[int, int] = (5, 1_000)
    foreign_share: float = 0.05  # of the letters, of scripts that English medical text does not use
    stop_word_share: float = 0.15  # of the words; English prose has 0.3 to 0.5
    refusal_words: int = 120  # a longer text says more than that it refuses
    same_sentence: int = 3  # times
    repeated_share: float = 0.3  # of all runs of eight words


@dataclass(frozen=True, slots=True)
class Texts:
    """One record. Answers are letters, "" where none is stated; `earlier` are the question's paths in earlier slots."""

    cot: str
    response: str
    key: str
    cot_answer: str = ""
    response_answer: str = ""
    finish_reason: str = ""  # of the path
    earlier: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Finding:
    """`sentence` counts the part's sentences from 1; 0 where the whole part is meant."""

    gate: Gate
    part: Part
    said: str
    excerpt: str
    sentence: int = 0


def check_record(texts: Texts, thresholds: Thresholds = Thresholds()) -> list[Finding]:
    """At most one finding a gate and part, in the order of GATES."""
    return [found for gate in GATES for found in _CHECKS[gate](texts, thresholds)]


def _parts(texts: Texts) -> Iterator[tuple[Part, str]]:
    yield "cot", texts.cot
    yield "response", texts.response


def _at(gate: Gate, part: Part, said: str, text: str, start: int) -> Finding:
    """A finding at a place of the text."""
    sentences = split_sentences(text)
    number = next((s.number for s in sentences if s.end > start), len(sentences))
    return Finding(gate, part, said, _shown(text[max(0, start - 40) : start + EXCERPT]), number)


def _whole(gate: Gate, part: Part, said: str, text: str) -> Finding:
    return Finding(gate, part, said, _shown(text[:EXCERPT]))


def _shown(text: str) -> str:
    return " ".join(text.split())[:EXCERPT]


# Greek, signs, ligatures and mathematical letters belong to English medical text
_FOREIGN = re.compile(
    r"[\u0400-\u1cff\u2c80-\ua71f\ua800-\ufaff\ufb13-\ufdff\ufe70-\ufefc\uff66-\uffdc\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"[^\W\d_]+")
_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "but",
        "by",
        "can",
        "could",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "more",
        "most",
        "no",
        "not",
        "of",
        "on",
        "or",
        "she",
        "should",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "while",
        "who",
        "will",
        "with",
        "would",
        "i",
        "let",
        "s",
        "you",
    ]
)


def _language(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text in _parts(texts):
        foreign = [] if text.isascii() else [m.start() for m in _FOREIGN.finditer(text) if m[0].isalpha()]
        if len(foreign) >= 8 and len(foreign) >= t.foreign_share * sum(c.isalpha() for c in text):
            yield _at("language", part, f"{len(foreign):,} letters of other scripts", text, foreign[0])
            continue
        words = _WORD.findall(text.lower())
        common = sum(word in _STOP_WORDS for word in words)
        if len(words) >= 40 and common < t.stop_word_share * len(words):
            yield _whole("language", part, f"{common} common English words among {len(words):,}", text)


def _limits(texts: Texts, t: Thresholds) -> Iterator[tuple[Part, str, int, int, int]]:
    for part, text in _parts(texts):
        yield part, text, len(text.split()), *(t.cot_words if part == "cot" else t.response_words)


def _too_short(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text, words, least, _ in _limits(texts, t):
        if words < least:
            yield _whole("too_short", part, f"{words:,} words, fewer than {least:,}", text)


def _too_long(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text, words, _, most in _limits(texts, t):
        if words > most:
            yield _whole("too_long", part, f"{words:,} words, more than {most:,}", text)


_REFUSES = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|i(?:['’]m| am) (?:sorry|afraid|unable|not able)\b"
    r"|i (?:cannot|can['’]?t|can not|won['’]?t|will not|must decline|decline) (?:to )?"
    r"(?:provide|assist|help|answer|give|comply|offer|diagnose|fulfil|do that|discuss))",
    re.IGNORECASE,
)


def _refusal(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    """Only where the text begins with it, is short and states no answer: paths quote such words, too."""
    for part, text in _parts(texts):
        answered = texts.cot_answer if part == "cot" else texts.response_answer
        found = None if answered else _REFUSES.search(text[:400])
        if found and len(text.split()) <= t.refusal_words:
            yield _at("refusal", part, "reads as a refusal", text, found.start())


_OPEN_END = re.compile(r"[\w,;(\[/–—-]$")


def _truncated(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text in _parts(texts):
        end = text.rstrip()
        answered = texts.cot_answer if part == "cot" else texts.response_answer
        if part == "cot" and texts.finish_reason == "length":
            yield _at("truncated", part, "the model reached its limit of tokens", end, max(0, len(end) - EXCERPT // 2))
        elif not answered and _OPEN_END.search(end.rstrip("*_` ")[-1:]):
            yield _at("truncated", part, "ends in mid-sentence without an answer", end, max(0, len(end) - EXCERPT // 2))


_LEAKS = re.compile(
    r"""\bexample\ \d{1,2}\ (?:involves|describes|shows|discusses|deals\ with|concerns|is\ about|focuses|presents|addresses)\b
    | \binformation\ from\ (?:the\ )?(?:\w+\ )?examples\b
    | \b(?:analy[sz]e|answer|address|approach|for|solve)\ the\ new\ question\b
    | ^[ \t]*\#{2,4}[ ]?(?:instructions?|input|response|system(?:\ prompt)?)[ ]*:
    | ^[ \t]*(?:human|assistant|user|system):[ \t]
    | <[|｜][a-z_▁ ]{2,30}[|｜]> | \[/?INST\] | <</?SYS>> | </?(?:start|end)_of_turn> | </?s>
    | \byou\ are\ an?\ (?:helpful|medical|expert|experienced)\ (?:\w+\ )?(?:assistant|ai|expert)\b""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)


def _leaked(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text in _parts(texts):
        if found := _LEAKS.search(text):
            yield _at("leaked_prompt", part, f"“{_shown(found[0])[:60]}”", text, found.start())


_PIECE = re.compile(r"[^.!?\n]+")
_RUN = 8  # words
_FEWEST_WORDS = 5  # of a sentence that counts as one


def _loop(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text in _parts(texts):
        words = text.lower().split()
        runs = [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]
        repeated = 1 - len(set(runs)) / len(runs) if runs else 0
        if found := _same_sentence(text, t.same_sentence):
            start, times = found
            yield _at("loop", part, f"the same sentence {times:,} times", text, start)
        elif len(words) >= 40 and repeated > t.repeated_share:
            yield _whole("loop", part, f"{100 * repeated:.0f} % of its runs of {_RUN} words stand in it before", text)


def _same_sentence(text: str, most: int) -> tuple[int, int] | None:
    """(where it stands first, how often) of the sentence said most often, when that is at least `most` times."""
    first: dict[str, int] = {}
    times: Counter[str] = Counter()
    for piece in _PIECE.finditer(text):
        words = piece[0].lower().strip(" \t*#-_>").split()
        if len(words) >= _FEWEST_WORDS:
            said = " ".join(words)
            first.setdefault(said, piece.start())
            times[said] += 1
    said, count = max(times.items(), key=lambda item: item[1], default=("", 0))
    return (first[said], count) if count >= most else None


_THINK = re.compile(
    r"<\s*/?\s*(?:think|thinking|thought|reasoning)\s*>|^[ \t]*#{1,6}[ \t]*\**[ \t]*thinking\b[* \t:]*$",
    re.IGNORECASE | re.MULTILINE,
)


def _think_tag(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    for part, text in _parts(texts):
        if found := _THINK.search(text):
            yield _at("think_tag", part, f"“{_shown(found[0])}”", text, found.start())


def _answer(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    """Reasoning that states no answer is none of this gate's; a response has to state the key."""
    for part, text in _parts(texts):
        answer = texts.cot_answer if part == "cot" else texts.response_answer
        if answer != texts.key and (answer or part == "response"):
            end = text.rstrip()
            yield _at(
                "answer",
                part,
                f"answers {answer or 'nothing'}, the key is {texts.key}",
                end,
                max(0, len(end) - EXCERPT // 2),
            )


def _twin(texts: Texts, t: Thresholds) -> Iterator[Finding]:
    mine = texts.cot.lower().split()
    if mine and any(mine == other.lower().split() for other in texts.earlier):
        yield _whole("twin", "cot", "word for word the path of an earlier slot", texts.cot)


_CHECKS: Mapping[Gate, Callable[[Texts, Thresholds], Iterator[Finding]]] = {
    "language": _language,
    "too_short": _too_short,
    "too_long": _too_long,
    "refusal": _refusal,
    "truncated": _truncated,
    "leaked_prompt": _leaked,
    "loop": _loop,
    "think_tag": _think_tag,
    "answer": _answer,
    "twin": _twin,
}
