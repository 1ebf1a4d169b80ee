"""Filters that pages are set with."""

from __future__ import annotations

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.questions.templatetags.ui import prose


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- **(A) Wait**: a common approach.", "• <strong>(A) Wait</strong>: a common approach."),
        ("2. **Condition**:", "2. <strong>Condition</strong>:"),
        ("### Final answer", "<strong>Final answer</strong>"),
        ("2 * 3 and ** alone", "2 * 3 and ** alone"),
        ("**<script>**", "<strong>&lt;script&gt;</strong>"),
        ("-5 mEq/L", "-5 mEq/L"),
        ("", ""),
    ],
)
def test_the_little_markdown_of_models(text: str, shown: str) -> None:
    assert prose(text) == shown


@given(st.text(alphabet="*-# a<>&\"'\n", max_size=60))
def test_nothing_else_becomes_markup(text: str) -> None:
    bare = prose(text).replace("<strong>", "").replace("</strong>", "")
    assert "<" not in bare
    assert set(unescape(bare)) <= set(text) | set("• ")
