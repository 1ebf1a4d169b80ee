"""What a simulated model sees in a request: the stage, the question with its options, the key, the path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from workers.simulated.dice import digest

TAIL = 700  # characters at the end of a path in which its answer is looked for
_STAGE = re.compile(r"\s*Stage: *([a-z_-]+)")
_OPTION = re.compile(r"^([A-J])\. ?(.*)$", re.M)
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")
_CLAUSE = re.compile(r"[;:,]\s+")
_STATED = re.compile(r"(?i:answer)\W{0,10}(?i:is|would be)?\W{0,10}(?i:option\s+)?\(?\b([A-J])\b(?![’'])")
_LETTER = re.compile(r"\s*\(?([A-J])\b")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question taken apart: what it asks, letters with their texts, and phrases of the stem to write with."""

    digest: int
    ask: str
    options: tuple[tuple[str, str], ...]
    phrases: tuple[str, ...]

    @property
    def letters(self) -> str:
        return "".join(letter for letter, _ in self.options)

    def text(self, letter: str) -> str:
        return next((text for found, text in self.options if found == letter), "")


@dataclass(frozen=True, slots=True)
class Prompt:
    """`stage` is empty when the system prompt names none. `key` and `stated` are letters, or empty."""

    stage: str
    question: str
    key: str
    path: str
    reasons: str
    last_user: str

    @property
    def asked(self) -> Asked:
        return take_apart(self.question)


def read_prompt(messages: list[dict[str, str]]) -> Prompt:
    """The sections of the messages; a path's end is the last closing tag, so a path cannot end itself early."""
    system = "".join(m["content"] for m in messages if m["role"] in ("system", "developer"))
    user = "\n".join(m["content"] for m in messages if m["role"] == "user")
    found = _STAGE.match(system)
    question = _section(user, "question")
    key = _LETTER.match(_section(user, "key"))
    path = user[user.find("<path>") + 6 : user.rfind("</path>")] if "<path>" in user and "</path>" in user else ""
    return Prompt(
        stage=found[1] if found else "",
        question=question,
        key=key[1] if key else "",
        path=path.strip(),
        reasons=_section(user, "reasons"),
        last_user=user,
    )


def stated_answer(path: str, options: Sequence[tuple[str, str]] = ()) -> str:
    """The letter that a path ends on, or empty: the last "answer is …", else the option whose words come last.

    A rough reader of its own: the judge is simulated, the product's reader is not.
    """
    found = _STATED.findall(path, max(0, len(path) - TAIL))
    if found:
        return str(found[-1])
    tail = path[-TAIL:].lower()
    at, letter = max(
        ((tail.rfind(text.lower().rstrip(".")), letter) for letter, text in options if text), default=(-1, "")
    )
    return letter if at >= 0 else ""


@lru_cache(maxsize=4096)
def take_apart(question: str) -> Asked:
    at = question.rfind("\nA. ")
    stem, tail = (question[:at], question[at + 1 :]) if at >= 0 else (question, "")
    options: list[tuple[str, str]] = []
    for letter, text in _OPTION.findall(tail):
        if letter == "ABCDEFGHIJ"[len(options) : len(options) + 1]:
            options.append((letter, text.strip()))
    sentences = [" ".join(sentence.split()) for sentence in _SENTENCE.split(stem) if sentence.strip()] or [
        "the question"
    ]
    clauses = [clause.strip(" .;:?!") for sentence in sentences[:-1] for clause in _CLAUSE.split(sentence)]
    usable = [
        clause.removeprefix("and ").removeprefix("but ")[:160] for clause in clauses if 3 <= len(clause.split()) <= 30
    ]
    return Asked(
        digest=digest(question),
        ask=sentences[-1][:240],
        options=tuple(options) or (("A", "yes"), ("B", "no")),
        phrases=tuple(dict.fromkeys(usable)) or (sentences[-1].strip(" .;:?!")[:160],),
    )


def _section(text: str, tag: str) -> str:
    start = text.find(f"<{tag}>")
    if start < 0:
        return ""
    start += len(tag) + 2
    end = text.find(f"</{tag}>", start)
    return text[start : end if end >= 0 else None].strip()
