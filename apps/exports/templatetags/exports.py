"""Words and snippets of the export pages."""

from __future__ import annotations

import json

from django import template

from apps.exports.models import Snapshot
from apps.exports.records import TITLES, VARIANTS
from apps.exports.selectors import files_of
from apps.exports.writers import WORDS

register = template.Library()


@register.filter
def set_words(snapshot: Snapshot) -> str:
    """ "All three", or the names."""
    names = [TITLES[v] for v in VARIANTS if v in snapshot.variants]
    return "All three" if len(names) == len(VARIANTS) else ", ".join(names)


@register.filter
def format_word(snapshot: Snapshot) -> str:
    return {str(k): word for k, word in WORDS.items()}.get(snapshot.format, snapshot.format)


@register.filter
def snippet(snapshot: Snapshot) -> str:
    """Python that loads the first set from a folder with all files in it."""
    first = snapshot.variants[0]
    return (
        "from datasets import load_dataset\n\n"
        f'ds = load_dataset({json.dumps(folder_name(snapshot))}, {json.dumps(first)}, split="train")\n'
        f"print(ds.num_rows)  # {snapshot.records}"
    )


@register.filter
def checksums(snapshot: Snapshot) -> str:
    """Shell commands that check the folder: all of it, and every file against the checksum it left with."""
    lines = "\n".join(f"{f['sha256']}  {f['path']}" for f in files_of(snapshot))
    verify = "reasonmed-verify .\n\n" if snapshot.manifest and "merkle" in snapshot.manifest else ""
    return f"{verify}sha256sum --check - <<'END'\n{lines}\nEND"


def folder_name(snapshot: Snapshot) -> str:
    """The run's name and the number, of characters that need no quoting."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in str(snapshot))
    return f"./{plain}"
