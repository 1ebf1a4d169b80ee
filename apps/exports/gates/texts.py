"""What the gates look at, and what they say of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from apps.reasoning.sentences import split_sentences

Gate = Literal[
    "language", "too_short", "too_long", "refusal", "truncated", "leaked_prompt", "loop", "think_tag", "answer", "twin"
]
Part = Literal["cot", "response"]
Switch = Literal["off", "warn", "exclude"]
SWITCH_WORDS: dict[Switch, str] = {"off": "Off", "warn": "Warn", "exclude": "Leave out"}
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
    "twin": "same reasoning as an earlier record",
}
GATE_HINTS: dict[Gate, str] = {
    "language": "Letters of other scripts, or too few of the words that English prose has",
    "too_short": "Reasoning under 30 words, or a response under 5",
    "too_long": "Reasoning over 4,000 words, or a response over 1,000",
    "refusal": "A short text that reads as a refusal as a whole",
    "truncated": "The model was cut off, or the text stops in mid-sentence without an answer",
    "leaked_prompt": "Examples, headers or chat tags of a prompt",
    "loop": "The same sentence, or the same runs of words, too often for a text of its length",
    "think_tag": "Remnants of thinking tags",
    "answer": "Reasoning or response states another answer than the key",
    "twin": "The same reasoning, word for word, as an earlier record",
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
    same_sentence: int = 3  # times in a text under 200 words; once more for each doubling
    repeated_share: float = 0.3  # of all runs of eight words, in a text of 400 words and more; half as much again, and
    # twice as much under 200: a short text quotes its question more than once without going in circles


@dataclass(frozen=True, slots=True)
class Texts:
    """One record. Answers are letters, "" where none is stated."""

    cot: str
    response: str
    key: str
    cot_answer: str = ""
    response_answer: str = ""
    finish_reason: str = ""  # of the path
    twin: bool = False  # a record that came before has the same reasoning


class Read:
    """One of a record's texts, with what several gates need of it made once."""

    __slots__ = ("answer", "low", "part", "text", "words")

    def __init__(self, part: Part, text: str, answer: str) -> None:
        self.part, self.text, self.answer = part, text, answer
        self.low = text.lower()
        self.words = self.low.split()


@dataclass(frozen=True, slots=True)
class Hit:
    """`start` is where in the text; None where the whole of it is meant."""

    gate: Gate
    part: Part
    said: str
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A hit to be read. `sentence` counts the part's sentences from 1; 0 where the whole part is meant."""

    gate: Gate
    part: Part
    said: str
    excerpt: str
    sentence: int = 0


def finding_of(hit: Hit, texts: Texts) -> Finding:
    text = texts.cot if hit.part == "cot" else texts.response
    if hit.start is None:
        return Finding(hit.gate, hit.part, hit.said, shown(text[:EXCERPT]))
    sentences = split_sentences(text)
    number = next((s.number for s in sentences if s.end > hit.start), len(sentences))
    excerpt = shown(text[max(0, hit.start - 40) : hit.start + EXCERPT])
    return Finding(hit.gate, hit.part, hit.said, excerpt, number)


def shown(text: str) -> str:
    return " ".join(text.split())[:EXCERPT]
