"""A reply made fit to keep and to read. Pure. The raw reply is stored beside the cleaned path."""

from __future__ import annotations

import re

_TAG = re.compile(r"<\s*(/?)\s*(?:think|thinking|thought|reasoning)\s*>", re.IGNORECASE)
_THINKING_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]*\**[ \t]*Thinking\b[ \t]*\**[ \t]*:?[ \t]*\**[ \t]*", re.IGNORECASE)
_FILLER = re.compile(
    r"\W*(?:(?:alright|all right|okay|ok|hmm+|right|well|so|now|sure|great)\b[\s,.!…:-]*)*"
    r"(?:let'?s (?:see|go|think|begin|start|dive in)\b|let me (?:think|see)\b)?\W*",
    re.IGNORECASE,
)
_NOISE_BEGINS = re.compile(  # what a line must begin with to be noise: most lines are no more than looked at
    r"\W*(?:thinking|alright|all right|okay|ok|hmm|right|well|so|now|sure|great|let)", re.IGNORECASE
)
_BLANK_LINES = re.compile(r"\n{3,}")


def sanitize_text(text: str) -> str:
    """Text that PostgreSQL can store: NUL and lone surrogates become U+FFFD, surrogate pairs their character."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def join_reply(reasoning: str, text: str) -> str:
    """The raw form of a reply whose server returns `reasoning_content` apart: in think tags, before the content.

    Without content the block stays open: the model never came out of its thinking.
    """
    if not reasoning.strip():
        return text
    return f"<think>\n{reasoning}\n</think>\n\n{text}" if text.strip() else f"<think>\n{reasoning}"


def clean_path(raw: str) -> str:
    """The path as people and judges read it: reasoning and final part, without tags, `## Thinking` and "Alright".

    Take the answer from the raw reply, not from this: that a think block never closed shows only there.
    """
    text = sanitize_text(raw).replace("\r\n", "\n").replace("\r", "\n")
    while True:
        before, text = text, _clean_once(text)
        if text == before:
            return text


def _clean_once(text: str) -> str:
    if "<" in text:
        text = _TAG.sub("\n", text)
    kept = [line.rstrip() for line in text.split("\n") if not (line and _is_noise(line))]
    text = "\n".join(kept)
    return (_BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def _is_noise(line: str) -> bool:
    """A `## Thinking` heading, or words that say nothing ("Alright, let's see."). Empty lines and rules are not noise."""
    if len(line) > 60 or not _NOISE_BEGINS.match(line):
        return False
    if _THINKING_HEADING.fullmatch(line):
        return True
    return _FILLER.fullmatch(line) is not None


# What counts as the reply's own conclusion

_FINAL_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]*\**[ \t]*Final Response\b[^\n]*$", re.IGNORECASE | re.MULTILINE)

_LEADING_THINKING = re.compile(r"\s*#{1,6}[ \t]*\**[ \t]*Thinking\b[^\n]*(?:\n|$)", re.IGNORECASE)
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]*\**[ \t]*\w", re.MULTILINE)
_FINAL_LINE = re.compile(r"\W*(?:final )?answer\W*:", re.IGNORECASE)


def final_part(text: str) -> tuple[str, str]:
    """(what is said outside think tags, what a closed think block says). An unclosed block gives neither.

    A "## Final Response" section is all that is said, wherever it stands. A "## Thinking" section that no other
    follows is an unclosed block too, except for a last line "Final answer: …".
    """
    if headings := list(_FINAL_HEADING.finditer(text)):
        return text[headings[-1].end() :], ""
    if (thinking := _LEADING_THINKING.match(text)) and not _HEADING.search(text, thinking.end()):
        last = text.rstrip().rpartition("\n")[2]
        return (last, "") if _FINAL_LINE.match(last) else ("", "")
    outside: list[str] = []
    inside = ""
    position, opened = 0, False
    for tag in _TAG.finditer(text):
        chunk = text[position : tag.start()]
        if tag[1]:  # closes; without an opening tag the template had opened it in the prompt
            inside, opened = (chunk if opened else "".join((*outside, chunk))), False
            outside.clear()
        elif not opened:
            outside.append(chunk)
            opened = True
        position = tag.end()
    if not opened:
        outside.append(text[position:])
    return "".join(outside), inside
