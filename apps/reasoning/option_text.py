"""How an option is named in running text: by its letter or by its words. Pure; shared by answers and stances."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LETTERS = "ABCDEFGHIJ"
COMMON_WORDS = frozenset(("yes", "no", "maybe", "none", "true", "false", "both", "all", "neither", "other"))

_MARKS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|bf|rm)\b|\\[()\[\],;! ]|[$~{}]|(?<!\w)_+|_+(?!\w)")
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
_SPACE = re.compile(r"[^\S\n]{2,}|[^\S\n ]")


def plain(text: str) -> str:
    """Text to compare by: NFKC, straight quotes and dashes, without Markdown, LaTeX or invisible marks. Keeps lines."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        for mark, instead in _FOLD.items():  # a search for each costs a fiftieth of looking at every letter
            if mark in text:
                text = text.replace(mark, instead)
    text = text.replace("*", "").replace("`", "")
    if _has_marks(text):
        text = _MARKS.sub(" ", text)
    return _SPACE.sub(" ", text) if _has_odd_space(text) else text


_FOLD = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-"} | dict.fromkeys(
    _INVISIBLE, ""
)
_ODD_SPACES = ("  ", *"\t\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029")  # NFKC leaves no others


def fold(text: str) -> str:
    """Lower case, letter by letter, so that positions stay."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _has_odd_space(text: str) -> bool:
    """Worth a substitution: most texts have nothing but single spaces and line ends, and looking for them is cheap."""
    return any(space in text for space in _ODD_SPACES)


def _has_marks(text: str) -> bool:
    """Those that the expression looks for; asterisks alone, as most replies have them, are not worth its time."""
    return any(mark in text for mark in "$~{}_\\")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a question, ready to be looked for. `texts` are plain and folded, one a letter."""

    letters: str
    texts: tuple[str, ...]
    longest_first: tuple[tuple[str, str], ...]  # (text, the letters that have this text)

    def starting(self, text: str) -> tuple[str, int]:
        """Letters of the longest option that `text` (plain, folded) begins with, and its length; ("", 0) if none.

        More than one letter means that these options read the same.
        """
        for option, letters in self.longest_first:
            if text.startswith(option) and _ends_at(text, len(option), option):
                return letters, len(option)
        return "", 0

    def within(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, letters) of each option named by its words in `text` (plain, folded); the longest wins.

        Words that stand in any sentence (yes, no, a number, a single letter) are not looked for.
        """
        found: list[tuple[int, int, str]] = []
        taken = bytearray(len(text))
        for option, letters in self.longest_first:
            if len(option) < 4 or option in COMMON_WORDS:
                continue
            start = text.find(option)
            while start >= 0:
                end = start + len(option)
                inside_word = start > 0 and option[0].isalnum() and text[start - 1].isalnum()
                if not inside_word and not any(taken[start:end]) and _ends_at(text, end, option):
                    found.append((start, end, letters))
                    taken[start:end] = b"\1" * (end - start)
                start = text.find(option, end)
        return sorted(found)


def _ends_at(text: str, end: int, option: str) -> bool:
    """Whether the option ends there as a word; a common word only where the clause ends with it ("no" in "no effect")."""
    rest = text[end : end + 3]
    if option in COMMON_WORDS:
        return (
            not rest.strip()
            or (not rest[0].isspace() and not rest[0].isalnum() and rest[0] not in "-'")
            or rest[:2] == " -"
        )
    return not (rest[:1].isalnum() and option[-1].isalnum()) and not re.match(r"[.,]\d", rest)


@lru_cache(maxsize=4096)
def _prepare(options: tuple[str, ...]) -> Options:
    texts = tuple(fold(plain(o).replace("\n", " ").strip().rstrip(".;,").strip()) for o in options)
    by_text: dict[str, str] = {}
    for letter, text in zip(LETTERS, texts, strict=False):
        if text:
            by_text[text] = by_text.get(text, "") + letter
    return Options(
        LETTERS[: len(options)], texts, tuple(sorted(by_text.items(), key=lambda item: (-len(item[0]), item[1])))
    )


def prepare_options(options: Sequence[str]) -> Options:
    """Up to ten options; further ones are left aside."""
    return _prepare(tuple(options[: len(LETTERS)]))
