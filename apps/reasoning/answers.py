"""The answer a reply states: a letter, found by rule and never guessed. Pure.

Only what the reply *concludes* counts: the text after its thinking, read from the end backwards, so the last
statement wins. A hedged statement ("it could be B") is passed over; a statement that names two answers, or a letter
and another option's words, is no answer; so is a reply that was still thinking when it ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from apps.reasoning.cleaning import final_part
from apps.reasoning.option_text import LETTERS, Options, fold, plain, prepare_options

How = Literal["", "boxed", "label", "statement", "line", "conclusion", "option text", "first line", "thinking"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`letter` is "" where no answer is stated; `how` names the rule that found it (ReasoningPath.answer_how)."""

    letter: str
    how: How


NO_ANSWER = Answer("", "")


def extract_answer(text: str, options: Sequence[str], *, finish_reason: str = "stop") -> Answer:
    """The letter that the raw reply `text` gives as its answer; options in letter order, at most ten.

    `finish_reason="length"` says the reply was cut: then only an answer labelled as final, and whole, counts.
    """
    known = prepare_options(options)
    cut = finish_reason == "length"
    said, thinking = final_part(text)
    if said.strip():
        return _read(said, known, cut=cut)
    if thinking.strip() and not cut:
        found = _read(thinking, known, cut=False, strict=True)
        return Answer(found.letter, "thinking") if found.letter else NO_ANSWER
    return NO_ANSWER


# Reading it, from the end backwards


def _read(text: str, known: Options, *, cut: bool = False, strict: bool = False) -> Answer:
    """The last statement in `text`. `cut` takes only whole answers labelled as final, `strict` labelled ones alone."""
    lines = list(_lines(plain(_unbox(text))))
    weak: Answer | None = None
    for index in range(len(lines) - 1, -1, -1):
        found = _labelled(lines, index, known, cut=cut)
        if found is None and not cut and not strict:
            found = _alone(lines, index, known)
            if found is None and weak is None and index >= len(lines) - _CONCLUSION_LINES:
                weak = _conclusion(lines[index], known)
        if found is not None:
            if _RETRACTS.search("\n".join(lines[index + 1 :])) or (weak and weak.letter != found.letter):
                return NO_ANSWER
            return found
    if weak is None and lines and not cut and not strict:
        letters = _lettered(lines[0], known)
        listed = len(lines) > 1 and _lettered(lines[1], known)
        return _settle(letters, "first line") if letters and not listed else NO_ANSWER
    return weak or NO_ANSWER


_CONCLUSION_LINES = 3
_LONGEST = 2_000


def _lines(text: str) -> Iterator[str]:
    """Lines that say something; a very long one in pieces that end with a sentence where they can."""
    for whole in text.split("\n"):
        line = whole.strip()
        while len(line) > _LONGEST:
            at = max(line.rfind(mark, 0, _LONGEST) for mark in (". ", "? ", "! ")) + 1 or _LONGEST
            yield line[:at]
            line = line[at:].lstrip()
        if line.strip(" -=_.#"):
            yield line


_BOX = re.compile(r"\\f?box(?:ed)?\s*\{")
_BOX_LABEL = "Boxed answer:"


def _unbox(text: str) -> str:
    r"""`\boxed{…}` as a line of its own, labelled."""
    if "box" not in text:
        return text
    parts: list[str] = []
    position = 0
    for box in _BOX.finditer(text):
        if box.start() < position:
            continue
        end, depth = box.end(), 1
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            break
        parts += (text[position : box.start()], f"\n{_BOX_LABEL} {text[box.end() : end - 1]}\n")
        position = end
    return "".join((*parts, text[position:]))


# "The answer is …", "Answer: …", "I would choose …", "B is correct"

_LABEL = re.compile(
    r"""(?<!\w)(?:
      (?:answer|conclusion|(?:correct|right|best|final|appropriate|suitable|likely)\ (?:option|choice|response|one)|my\ (?:choice|pick))
        (?:\ (?:to|for|here|in|among|of|from)\b[^.:;?!\n]{0,80}?)?
        (?:"?\ ?(?:[:=]|-(?=\ ))|\ (?:is|would\ be|should\ be|must\ be|has\ to\ be|remains|will\ be)(?!\w)\ ?:?)
    | (?<=answer)\ (?=\(?[B-HJ]\)?\.?$)
    | (?:I|we)(?:\ would|\ will|'d|'ll|\ have\ to|\ must)?\ (?:choose|select|pick|go\ with)(?!\w)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_HEADING = re.compile(
    r"^\W*+(?:\d++[.)]\W*+)?(?:the )?(?:provide the )?(?:final |correct |best )?(?:answer|conclusion)\W*$",
    re.IGNORECASE,
)
_FIRM = re.compile(
    rf"(?:^\W*+(?:\d++[.)]\W*+)?(?:the )?(?:final |correct )?answer|\bfinal answer|{_BOX_LABEL[:-1]})(?: is)?\W*$",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    r"""(?:^\W*|[.,;:!?(]\s*|\b(?:option|choice|answer|so|thus|therefore|hence|that|because|since)\s)
      \(?(?P<letter>[A-J])\)?(?:[.:)]?\s[^.;:?!]{0,120}?)?
      \s(?:is|remains|must\ be)\s(?:therefore\s|thus\s|clearly\s|indeed\s|considered\s)?(?:the\s)?(?:single\s|most\s)?
      (?:correct|right|best|likely|plausible|probable|appropriate|accurate|suitable|fitting|logical|reasonable)(?!\w)""",
    re.VERBOSE,
)
_HEDGE = re.compile(
    r"\b(?:if|unless|whether|might|may|could|perhaps|maybe|possibly|tempting|initially|at first|suppose|assuming|"
    r"not sure|unsure|distractor|is it|why)\b",
    re.IGNORECASE,
)
_HEDGED_TAIL = re.compile(
    r"\W*(?:maybe|perhaps|possibly|either|one of|between|uncertain|unclear|unknown|not|neither)\b", re.IGNORECASE
)
_RETRACTS = re.compile(
    r"(?:^|[.!?\n]\s*)(?:but )?(?:wait|hmm|hold on|scratch that|on second thought|on reflection|let me (?:re|double)|"
    r"i was wrong|i made an? (?:mistake|error)|that (?:is|was) (?:wrong|incorrect|not right|not correct))",
    re.IGNORECASE,
)


def _labelled(lines: list[str], index: int, known: Options, *, cut: bool) -> Answer | None:
    """The last statement on a line; None where it makes none, an empty Answer where it contradicts itself."""
    line = lines[index]
    found = list(_after_labels(lines, index, known, cut=cut))
    if not cut:
        found += _claims(line, known)
        if not found and index + 1 < len(lines) and _HEADING.match(line):
            letters = _resolve(lines[index + 1], known)
            return _settle(letters, "label") if letters is not None else _conclusion(lines[index + 1], known, cued=True)
    if not found:
        return None
    position, letters, how = max(found, key=lambda item: item[0])
    return NO_ANSWER if _RETRACTS.search(line, position) else _settle(letters, how)


_Found = tuple[int, str, How]  # position, letters as _resolve gives them, how


def _after_labels(lines: list[str], index: int, known: Options, *, cut: bool) -> Iterator[_Found]:
    line = lines[index]
    boxed = line.startswith(_BOX_LABEL)
    for label in _LABEL.finditer(line):
        firm = _FIRM.search(line[: label.end()].rstrip(" :=-")) is not None
        before, sentence = _sentence_around(line, label.start(), label.end())
        if (cut and not firm) or _HEDGE.search(before) or sentence.endswith("?"):
            continue
        tail, at = line[label.end() :], index
        if not tail.strip(_OPENERS):
            tail, at = "".join(lines[index + 1 : index + 2]), index + 1
        letters = _resolve(tail, known, cut=cut and not boxed and at + 1 >= len(lines))
        if letters is not None:
            yield label.end(), letters, "boxed" if boxed else "label"
        elif firm and not cut and at == index and not boxed:  # announced as final, in other words than an option's
            yield label.end(), (_conclusion(tail, known) or NO_ANSWER).letter, "conclusion"


_OPENERS = " :=-\"'(>"


def _claims(line: str, known: Options) -> Iterator[_Found]:
    """ "(B) is the best answer"."""
    for claim in _IS_RIGHT.finditer(line):
        before, sentence = _sentence_around(line, claim.start("letter"), claim.end())
        if claim["letter"] in known.letters and not _HEDGE.search(before) and not sentence.endswith("?"):
            yield claim.start("letter"), claim["letter"], "statement"


def _settle(letters: str, how: How) -> Answer:
    return Answer(letters, how) if len(letters) == 1 else NO_ANSWER


def _sentence_around(line: str, start: int, end: int) -> tuple[str, str]:
    """(the sentence up to `start`, the whole sentence)."""
    first = max(line.rfind(mark, 0, start) for mark in (". ", "? ", "! ", "; ")) + 1
    stop = _SENTENCE_END.search(line, end)
    return line[first:start], line[first : stop.end() if stop else len(line)].rstrip(" \"')")


_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\?")

_LEAD = re.compile(
    r"""(?:[\s:="'(\[>.-]|(?:most\ likely|likely|probably|therefore|thus|clearly|still|indeed|option|choice|answer|letter|as\ follows|that|the\ (?:correct\ |best\ )?(?:option|choice|answer)(?:\ is)?)(?=[\s:"'(\[]))*""",
    re.VERBOSE | re.IGNORECASE,
)
_CONNECTS = re.compile(r"\s+(?:[^\w\s]|(?:because|as|since|due|given|based|which|that|for|with|and|or|is|,)\b)")
_MORE = re.compile(
    r"""^[\s)\]."']*(?:or|and|and/or|[/,&+]|vs\.?)\s*(?:option\s|choice\s|answer\s)?\s*\(?([A-J])\)?(?!\w|'|-\w)"""
)
_REFUSED = re.compile(
    r"""^[\s)\]."',:-]*(?:(?:is|are|was|can|would|does|do|did)\s?(?:not\b|n't)|cannot\b|"""
    r"""(?:(?:is|are|was)\s)?(?:incorrect|wrong|unlikely|less likely|ruled out|false)\b)""",
    re.IGNORECASE,
)


def _resolve(tail: str, known: Options, *, cut: bool = False) -> str | None:
    """What stands after a label: a letter, "" where it contradicts itself or is no option, None where it names none."""
    lead = _LEAD.match(tail)
    said = tail[lead.end() if lead else 0 :]
    low = fold(said)
    letters, length = known.starting(low)
    if length > 1:
        rest = said[length:]
        in_brackets = re.match(r"""[\s."',:-]*\(?(?:option )?\(?([A-J])\)(?!\w)""", rest)
        if in_brackets and in_brackets[1] not in letters:
            return ""
        if in_brackets:
            letters, rest = in_brackets[1], rest[in_brackets.end() :]
    else:
        letters, rest = _letter_at(said, low, known)
        if not rest and not letters:
            return None
        if letters == "?":
            return ""
    if _REFUSED.match(rest):
        return None
    more = _MORE.match(rest)
    if (
        more
        and more[1] in known.letters
        and more[1] not in letters
        and not (more[1] in "AI" and re.match(r"\s+[a-z]", rest[more.end() :]))
    ):
        return ""
    also = re.match(r"^[\s)\].\"']*(?:or|and)\s+", rest)
    if also and known.starting(fold(rest[also.end() :]))[0].strip(letters):
        return ""
    if cut and not rest:
        return None  # may go on: "Final answer: A" of "Aspirin"
    return letters


def _letter_at(said: str, low: str, known: Options) -> tuple[str, str]:
    """(letter, what follows it) at the start of `said`: ("", "") where none stands, ("?", …) where it cannot be."""
    match = re.match(r"([A-Ja-j])(?![\w']|-\w|\.\w\.)", said)
    if match is None or _HEDGED_TAIL.match(said):
        return "", ""
    letter, rest = match[1], said[1:]
    article = letter in "AI" and rest[:1].isspace() and not _CONNECTS.match(rest)
    small = letter.islower() and rest[:1] not in ("", ".", ")", "]", '"', ":", ",")
    cell = re.match(r"\s(?:cell|lymphocyte)s?\b", rest)
    tail = re.sub(r"""^[\s).:\]"'(>,-]+""", "", rest)
    named, length = known.starting(fold(tail))
    own = letter.upper() in named
    if (article or small or cell) and not own:
        return "", ""
    if letter.upper() not in known.letters and known.texts.count(letter.lower()) == 1:
        return LETTERS[known.texts.index(letter.lower())], rest or ""
    if letter.upper() not in known.letters or (length > 1 and not own):
        return "?", rest
    return letter.upper(), (tail[length:] if own else rest) or " " * bool(rest)


# A line that is nothing but an answer

_LETTERED = re.compile(
    r"""^[\s"'\[>.-]*(?:option\s|choice\s|answer\s)?\(?([A-J])\)?(?:[.:)\]-]+|(?=\s|$|\())\s*(.*)$""", re.IGNORECASE
)


_ASIDE = re.compile(r"[.,]?\s*\([^()]*\)?$")


def _lettered(line: str, known: Options) -> str:
    """The letter of a line that is a bare letter, an option's words, or both; "" for any other line."""
    match = _LETTERED.match(line)
    if match and match[1].upper() in known.letters:
        words = fold(match[2]).strip(" .\"'")
        own = known.texts[known.letters.index(match[1].upper())]
        bare = not words and (match[1].isupper() or len(line) <= 3)
        if (
            bare
            or words.strip("()").strip(" .") == own.strip("()")
            or (words.startswith(own) and _ASIDE.match(words[len(own) :]))
        ):
            return match[1].upper()
    words = fold(line).strip(" .\"'>-")
    return next((letters for option, letters in known.longest_first if option == words and len(option) > 1), "")


def _alone(lines: list[str], index: int, known: Options) -> Answer | None:
    """A lettered line or an option's words as the last line, or after a line that ends with a colon; not in a list."""
    last = index == len(lines) - 1
    previous = re.split(r"[.!?]\s", lines[index - 1])[-1] if index else ""
    if not last and not previous.endswith(":"):
        return None
    letters = _lettered(lines[index], known)
    if not letters or (not last and (_RULED_OUT.search(previous) or _HEDGE.search(previous))):
        return None
    beside = [_lettered(lines[i], known) for i in (index - 1, index + 1) if 0 <= i < len(lines)]
    if any(other and other != letters for other in beside):
        return None
    return _settle(letters, "line")


_RULED_OUT = re.compile(
    r"\b(?:rul(?:e|ed|es|ing) out|exclud|eliminat|incorrect|wrong|unlikely|(?:options|choices)[^.]{0,12}:$)",
    re.IGNORECASE,
)

# "Thus, the most likely deficit is wrist extension (D)."

_CONCLUDES = re.compile(
    r"\b(?:thus|therefore|hence|consequently|accordingly|ultimately|in (?:conclusion|summary)|to conclude|conclusion|"
    r"based on|most (?:likely|appropriate|suitable|probable|plausible|relevant|consistent|fitting|logical)|best|correct|answer|"
    r"next step|clear(?:ly)? that|stands out|aligns)\b",
    re.IGNORECASE,
)
_AGAINST = re.compile(
    r"\b(?:not|never|neither|nor|cannot|incorrect|wrong|unlikely|less likely|rather than|instead of|unlike|over|"
    r"rul(?:e|ed|es|ing) out|exclud(?:e|ed|es|ing)|eliminat(?:e|ed|es|ing)|contraindicated|other than|except|without)\b|n't\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\(([A-J])\)|\b[Oo]ption \(?([A-J])\b")
_CLAUSE = re.compile(r"[;,]|\b(?:but|while|whereas|although|though|however|and|which|making)\b", re.IGNORECASE)


_LETTER_DOT = re.compile(r"(?<!\w)([A-J])[.:)]\s+(?=(.{1,400}))")
_SENTENCES = re.compile(r"(?<![\s(][A-J]\.)(?<=[.!?])\s+(?=\W{0,3}[A-Z])")


def _own(match: re.Match[str], known: Options) -> bool:
    return match[1] in known.starting(fold(match[2]))[0]


def _conclusion(line: str, known: Options, *, cued: bool = False) -> Answer | None:
    """The one option that the line's last concluding sentence names and does not turn down.

    `cued` says that a heading already announced the answer.
    """
    for sentence in reversed(_SENTENCES.split(line)):
        if (
            not (cued or _CONCLUDES.search(sentence))
            or sentence.endswith("?")
            or re.match(r"[\W\d]*\(?[A-J][).:]", sentence)
        ):
            continue
        named = [(m.start(), m.end(), m[1] or m[2], "conclusion") for m in _NAMED.finditer(sentence)]
        named += [(m.start(), m.end(), m[1], "conclusion") for m in _LETTER_DOT.finditer(sentence) if _own(m, known)]
        named += [(s, e, letters, "option text") for s, e, letters in known.within(fold(sentence))]
        for_it: dict[str, How] = {}
        for start, end, letters, how in sorted(named):
            clause = max((m.end() for m in _CLAUSE.finditer(sentence, 0, start)), default=0)
            if not _AGAINST.search(sentence, clause, start) and not _REFUSED.match(sentence[end:]):
                for_it.setdefault(letters, "conclusion" if how == "conclusion" else "option text")
        if not for_it:
            continue
        letter = next(iter(for_it))
        if len(for_it) > 1 or len(letter) > 1 or letter not in known.letters or _HEDGE.search(sentence):
            return NO_ANSWER
        return Answer(letter, for_it[letter])
    return None
