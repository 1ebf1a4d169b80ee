"""Which sentences of a path the judge means: the ones whose words it quotes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from apps.reasoning.sentences import Sentence

SHORTEST = 8  # letters and digits of a quotation; below, it could stand anywhere
_QUOTED = re.compile(r"[\"“”]([^\"“”]{3,600})[\"“”]")
_LEFT_OUT = re.compile(r"\s*(?:…|\.\.\.|\[[^\]]*\])\s*")
_KEPT = re.compile(r"[^\W_]+")


def cited_sentences(reason: str, sentences: Sequence[Sentence]) -> set[int]:
    """Numbers of the sentences that the quotations of `reason` lie in; case, blanks and signs are of no account.

    A quotation that runs over several sentences cites them all; one that the path has not, none.
    """
    plain = [_plain(sentence.text) for sentence in sentences]
    whole = "".join(plain)
    ends, at = [], 0
    for text in plain:
        at += len(text)
        ends.append(at)
    cited: set[int] = set()
    for quotation in _QUOTED.findall(reason):
        for part in _LEFT_OUT.split(quotation):
            words = _plain(part)
            start = whole.find(words) if len(words) >= SHORTEST else -1
            if start < 0:
                continue
            last = start + len(words)
            begins = (0, *ends)
            cited |= {
                sentence.number
                for sentence, begin, end in zip(sentences, begins, ends, strict=False)
                if begin < last and end > start
            }
    return cited


def _plain(text: str) -> str:
    return "".join(_KEPT.findall(text.casefold()))
