"""What each stage says to its model. The words are text files beside this one; their hash names the version.

A file holds the system prompt (first line "Stage: <name>", without the `_again` of a prompt for what is made again), a line "--- user ---", and the user message, whose
placeholders {question}, {key}, {path} and {reasons} each stand alone between tags of the same name. Whatever varies
comes after the rubric, and the path after the question, so that servers can reuse their prefix cache.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from apps.pipeline.protocol import Message
from apps.reasoning.cleaning import sanitize_text

NAMES: Final = ("generate", "verify", "rank", "refine", "regenerate", "summarise", "summarise_again")
LATER: Final = ("summarise_again",)  # runs frozen before it was written take it as it is shipped
SECTIONS: Final = ("question", "key", "path", "reasons")  # in the order of the user message
SEPARATOR: Final = "\n--- user ---\n"

_PASS = {"type": "string", "enum": ["pass", "fail"]}
VERDICT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "correctness": _PASS,
        "coherence": _PASS,
        "factuality": _PASS,
        "verdict": {"type": "string", "enum": ["Correct", "Error"]},
    },
    "required": ["reason", "correctness", "coherence", "factuality", "verdict"],
    "additionalProperties": False,
}
RANK_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "justification": {"type": "string"},
        "score": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]},
    },
    "required": ["justification", "score"],
    "additionalProperties": False,
}


class PromptError(ValueError):
    """A prompt's text, or the sections given to it, cannot be used; names the prompt and what is wrong."""


@dataclass(frozen=True)
class Prompt:
    """`sha256` is of the whole text as UTF-8: the key of its PromptVersion."""

    name: str
    text: str
    sha256: str

    @cached_property
    def system(self) -> str:
        return self.text.split(SEPARATOR)[0].strip()

    @cached_property
    def user(self) -> str:
        return self.text.split(SEPARATOR)[1].strip()

    @cached_property
    def sections(self) -> tuple[str, ...]:
        return tuple(_PLACEHOLDER.findall(self.user))


@cache
def load_prompts() -> dict[str, Prompt]:
    """The prompts shipped with this version, by name. Read once in a process."""
    here = Path(__file__).parent
    return {name: prompt_from_text(name, (here / f"{name}.txt").read_text(encoding="utf-8")) for name in NAMES}


@cache
def prompt_from_text(name: str, text: str) -> Prompt:
    """A prompt as a PromptVersion keeps it, for runs frozen with another version. Raises PromptError."""
    prompt = Prompt(name, text, hashlib.sha256(text.encode()).hexdigest())
    if name not in NAMES:
        raise PromptError(f"{name}: no such stage; there are {', '.join(NAMES)}")
    stage = name.removesuffix("_again")
    if not text.startswith(f"Stage: {stage}\n"):
        raise PromptError(f'{name}: the first line must be "Stage: {stage}"')
    if text.count(SEPARATOR) != 1:
        raise PromptError(f'{name}: exactly one line "{SEPARATOR.strip()}" must part system and user message')
    if prompt.sections != tuple(s for s in SECTIONS if s in prompt.sections):
        raise PromptError(f"{name}: placeholders stand once each, in the order {', '.join(SECTIONS)}")
    if "question" not in prompt.sections:
        raise PromptError(f"{name}: there is no {{question}}")
    if name == "generate" and prompt.sections != ("question",):
        raise PromptError("generate: a generator sees the question and nothing else")
    for section in prompt.sections:
        if f"<{section}>\n{{{section}}}\n</{section}>" not in prompt.user:
            raise PromptError(f"{name}: {{{section}}} must stand alone between <{section}> and </{section}>")
    return prompt


def render(prompt: Prompt, **sections: str) -> list[Message]:
    """The messages of one call. Raises PromptError unless exactly the prompt's own sections are given."""
    missing = [s for s in prompt.sections if s not in sections]
    extra = [s for s in sections if s not in prompt.sections]
    if missing or extra:
        told = [f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("not used:", extra)) if names]
        raise PromptError(f"{prompt.name}: {'; '.join(told)}")
    data = {name: neutralise(text).strip() for name, text in sections.items()}
    user = _PLACEHOLDER.sub(lambda found: data[found[1]], prompt.user)  # one pass: braces in data stay as they are
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]


def neutralise(text: str) -> str:
    """Data that cannot open or close a section: the `<` of anything like one of our tags becomes `‹` (U+2039).

    "Like" covers either case, a wide or small `<`, white space, slashes and invisible characters inside. All other text is left alone,
    except what JSON over HTTP or PostgreSQL cannot carry: NUL and lone surrogates become U+FFFD.
    """
    return _TAG.sub("‹", sanitize_text(text))


_PLACEHOLDER = re.compile(r"\{(" + "|".join(SECTIONS) + r")\}")
_UNSEEN = (  # control, format and variation characters, which a reader does not see
    r"\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180b-\u180f"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    r"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_TAG = re.compile(
    rf"[<＜﹤](?=[\s/\\{_UNSEEN}]*+(?:" + "|".join(rf"[{_UNSEEN}]*+".join(name) for name in SECTIONS) + r")(?!\w))",
    re.IGNORECASE,
)
