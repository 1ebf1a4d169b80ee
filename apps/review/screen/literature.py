"""Where to look it up: a search of PubMed for what a question asks and its key. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlencode

PUBMED = "https://pubmed.ncbi.nlm.nih.gov/"  # the one address outside that a page links to
MOST_TERMS = 6
FEWEST_TERMS = 2
_WORD = re.compile(r"[^\W\d_][\w-]*")  # letters, digits and hyphens alone: nothing in it means something to a search
_COMMON_WORDS = (
    "a an and are as at be been being best by can case cause caused could do does during each few following for from "
    "had has have her hers him his how in indicated into is it its likely made may might more most must next no not "
    "of on one only or option other our patient patients person pictured present presentation s shall she should "
    "shown step such than that the their them then there these they this those to true under was were what when where "
    "which while who whose why will with woman women man men would year years old yes maybe none all above both "
    "appropriate correct expected explanation explains finding findings first greatest information given patient's "
    "statement used regarding responsible seen consistent"
)
_COMMON = frozenset(_COMMON_WORDS.split())


def search_address(ask: str, key: str, also: Sequence[str] = ()) -> str:
    """The key's words come first, then those of the ask; `also` helps where these say nothing."""
    terms = _terms(f"{key} {ask}")
    if len(terms) < FEWEST_TERMS:
        terms |= _terms(" ".join(also))
    return f"{PUBMED}?{urlencode({'term': ' '.join(list(terms.values())[:MOST_TERMS])})}"


def _terms(text: str) -> dict[str, str]:
    """The telling words, each once, in order."""
    words = [word for word in _WORD.findall(text) if len(word) > 2 and word.lower() not in _COMMON]
    return {word.lower(): word for word in words}
