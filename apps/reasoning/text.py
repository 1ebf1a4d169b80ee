"""A question's words as pages show them: an opening to name it by, and the sentence that asks."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What asks, where no full stop stands before it (after a table of findings)
_ASKS = re.compile(r"\s(?=(?:Which|What|How|Where|When|Why|Who)\b[^.?!]*\?[\"”]?\s*$)")
_NEW_LINE = re.compile(r"\n\s*(?=[A-Z(\"“])")  # a line of findings ends without a full stop
_SENTENCE_END = re.compile(r"(?<=[.?!:])\s+(?=[A-Z(\"“])")


@dataclass(frozen=True, slots=True)
class Stem:
    paragraphs: tuple[str, ...]
    ask: str  # the last sentence, when there is more than one


def split_stem(stem: str) -> Stem:
    """Paragraphs of the vignette, and the ask apart, so that it can stay beside the options."""
    whole = stem.strip()
    last = _SENTENCE_END.split(whole)[-1]
    ask = _ASKS.split(_NEW_LINE.split(last)[-1])[-1]
    if ask == whole or not ask.rstrip('"”').endswith(("?", ":")):  # some stems of MedQA end with a stray quote
        ask = ""
    body = whole[: len(whole) - len(ask)].strip()
    return Stem(tuple(p.strip() for p in re.split(r"\n\s*\n|\n", body) if p.strip()), ask)


def opening(stem: str, length: int = 110) -> str:
    """The first words, cut between words: how a question is named (no invented titles)."""
    flat = " ".join(stem.split())
    if len(flat) <= length:
        return flat
    return flat[:length].rsplit(" ", 1)[0].rstrip(",;:") + "…"
