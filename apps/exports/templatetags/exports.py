"""Words and snippets of the export pages."""

from __future__ import annotations

from django import template

from apps.exports.comparing import WHY_WORDS
from apps.exports.models import Snapshot
from apps.exports.records import TITLES, VARIANTS
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
def why_words(why: str) -> str:
    """Why a record differs between two snapshots."""
    return {str(k): words for k, words in WHY_WORDS.items()}.get(why, why)


def folder_name(snapshot: Snapshot) -> str:
    """The run's name and the number, of characters that need no quoting."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in str(snapshot))
    return f"./{plain}"
