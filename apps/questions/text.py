"""The one way a question becomes text: every prompt, page and export joins it here (DESIGN: question text)."""

from __future__ import annotations

from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"


def join_contexts(contexts: Sequence[dict[str, str]]) -> str:
    """PubMedQA's sections with their labels, one paragraph each."""
    return "\n".join(f"{c['label']}: {c['text']}" if c.get("label") else c["text"] for c in contexts)


def join_options(options: Sequence[str]) -> str:
    """`A. …` lines."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def join_question(contexts: Sequence[dict[str, str]], stem: str, options: Sequence[str]) -> str:
    """Contexts, blank line, stem, newline, lettered options; never the key or the explanation."""
    head = f"{join_contexts(contexts)}\n\n" if contexts else ""
    return f"{head}{stem}\n{join_options(options)}"
