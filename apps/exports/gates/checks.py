"""The gates over one record. Pure; no text makes them raise, and each is linear in the text.

Conservative: a gate that calls good records bad is switched off by the people who export, and then finds nothing. Quick,
because an export passes every record through them: a cheap look says of most texts that there is nothing to find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from apps.exports.gates.language import foreign
from apps.exports.gates.loops import loop
from apps.exports.gates.texts import EXCERPT, GATES, Finding, Gate, Hit, Read, Texts, Thresholds, finding_of, shown

_DEFAULT = Thresholds()


def check_record(texts: Texts, thresholds: Thresholds = _DEFAULT) -> list[Finding]:
    """What is found, with the place to read. At most one finding a gate and part, in the order of GATES."""
    return [finding_of(hit, texts) for hit in find_hits(texts, thresholds)]


def find_hits(texts: Texts, thresholds: Thresholds = _DEFAULT, gates: Collection[Gate] = GATES) -> list[Hit]:
    """The same by the gates that are on, without the excerpts, which take longer than the finding."""
    reads = (Read("cot", texts.cot, texts.cot_answer), Read("response", texts.response, texts.response_answer))
    hits = []
    for gate in GATES:
        if gate in gates:
            check = _CHECKS[gate]
            hits += [hit for read in reads if (hit := check(read, texts, thresholds))]
    return hits


def _too_short(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    least = (t.cot_words if read.part == "cot" else t.response_words)[0]
    if len(read.words) >= least:
        return None
    return Hit("too_short", read.part, f"{len(read.words):,} words, fewer than {least:,}")


def _too_long(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    most = (t.cot_words if read.part == "cot" else t.response_words)[1]
    if len(read.words) <= most:
        return None
    return Hit("too_long", read.part, f"{len(read.words):,} words, more than {most:,}")


_REFUSES = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|i(?:['’]m| am) (?:sorry|afraid|unable|not able)\b"
    r"|i (?:cannot|can['’]?t|can not|won['’]?t|will not|must decline|decline) (?:to )?"
    r"(?:provide|assist|help|answer|give|comply|offer|diagnose|fulfil|do that|discuss))",
    re.IGNORECASE,
)


def _refusal(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    """Only where the text begins with it, is short and states no answer: paths quote such words, too."""
    if read.answer or len(read.words) > t.refusal_words or not (found := _REFUSES.search(read.text[:400])):
        return None
    return Hit("refusal", read.part, "reads as a refusal", found.start())


_OPEN_END = re.compile(r"[\w,;(\[/–—-]$")


def _truncated(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    if read.part == "cot" and texts.finish_reason == "length":
        return Hit("truncated", read.part, "the model reached its limit of tokens", _end(read.text))
    if not read.answer and _OPEN_END.search(read.text.rstrip().rstrip("*_` ")[-1:]):
        return Hit("truncated", read.part, "ends in mid-sentence without an answer", _end(read.text))
    return None


def _leak(*needles: str, pattern: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    return needles, re.compile(pattern, re.VERBOSE | re.IGNORECASE | re.MULTILINE)


_LEAKS = (  # a pattern is looked for only in a text that holds, in small letters, one of the words before it
    _leak(
        "example",
        pattern=r"""\bexample\ \d{1,2}\ (?:involves|describes|shows|discusses|deals\ with|concerns|is\ about|focuses|presents|addresses)\b
            | \binformation\ from\ (?:the\ )?(?:\w+\ )?examples\b""",
    ),
    _leak("new question", pattern=r"\b(?:analy[sz]e|answer|address|approach|for|solve)\ the\ new\ question\b"),
    _leak(
        *(f"##{blank}{word}" for blank in ("", " ") for word in ("instruction", "input", "response", "system")),
        pattern=r"\#{2,4}[ ]?(?:instructions?|input|response|system(?:\ prompt)?)[ ]*:",
    ),
    _leak(
        "human:",
        "assistant:",
        "user:",
        "system:",
        pattern=r"^[ \t]*(?:human|assistant|user|system):[ \t]",
    ),
    _leak(
        "<",
        pattern=r"<[|｜][a-z_▁ ]{2,30}[|｜]> | <</?SYS>> | </?(?:start|end)_of_turn> | </?s>",
    ),
    _leak("inst]", pattern=r"\[/?INST\]"),
    _leak(
        "you are a",
        pattern=r"\byou\ are\ an?\ (?:helpful|medical|expert|experienced)\ (?:\w+\ )?(?:assistant|ai|expert)\b",
    ),
)


def _leaked(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    found = [
        match
        for needles, pattern in _LEAKS
        if any(needle in read.low for needle in needles) and (match := pattern.search(read.text))
    ]
    if not found:
        return None
    first = min(found, key=lambda match: match.start())
    return Hit("leaked_prompt", read.part, f"“{shown(first[0])[:60]}”", first.start())


_THINK = re.compile(
    r"<\s*/?\s*(?:think|thinking|thought|reasoning)\s*>|\#{1,6}[ \t]*\**[ \t]*thinking\b[* \t:]*$",
    re.IGNORECASE | re.MULTILINE,
)


def _think_tag(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    low = read.low
    if not (("#" in low or "<" in low) and ("think" in low or "thought" in low or "reasoning" in low)):
        return None
    found = _THINK.search(read.text)
    return Hit("think_tag", read.part, f"“{shown(found[0])}”", found.start()) if found else None


def _answer(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    """Reasoning that states no answer is none of this gate's; a response has to state the key."""
    if read.answer == texts.key or not (read.answer or read.part == "response"):
        return None
    return Hit("answer", read.part, f"answers {read.answer or 'nothing'}, the key is {texts.key}", _end(read.text))


def _twin(read: Read, texts: Texts, t: Thresholds) -> Hit | None:
    if read.part != "cot" or not texts.twin:
        return None
    return Hit("twin", read.part, "word for word the reasoning of an earlier record")


def _end(text: str) -> int:
    """Where the excerpt of a text's end starts."""
    return max(0, len(text.rstrip()) - EXCERPT // 2)


_CHECKS: Mapping[Gate, Callable[[Read, Texts, Thresholds], Hit | None]] = {
    "language": foreign,
    "too_short": _too_short,
    "too_long": _too_long,
    "refusal": _refusal,
    "truncated": _truncated,
    "leaked_prompt": _leaked,
    "loop": loop,
    "think_tag": _think_tag,
    "answer": _answer,
    "twin": _twin,
}
