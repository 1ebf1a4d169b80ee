from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.answers import extract_answer
from apps.reasoning.cleaning import clean_path, join_reply, sanitize_text

any_text = st.text(st.characters(exclude_categories=[]), max_size=200)
pieces = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "nk>", "< /think >", "\n", "Alright", "## Thinking", " ", "So.", "\x00", "\r\n", "text", "\ud83d", "\ude00"]), max_size=30
).map("".join)  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("<think>\nOne.\n</think>\n\nD", "One.\n\nD"),
        ("Unfinished </think> D", "Unfinished\n D"),
        ("<think>\nNever closed", "Never closed"),
        ("## Thinking\n\nOne.\n\n## Final Response\n\nIt is D.", "One.\n\n## Final Response\n\nIt is D."),
        ("**Keep** ## Thinking here", "**Keep** ## Thinking here"),
        ("Alright.\nOkay, so\nHmm, let's see.\nThe patient is ill.", "The patient is ill."),
        ("Alright, the patient is ill.", "Alright, the patient is ill."),
        ("a\r\nb\rc\n\n\n\n\nd", "a\nb\nc\n\nd"),
        ("<thi<think>nk>x", "<thi\nnk>x"),
        ("p < 0.05 and <b>bold</b>", "p < 0.05 and <b>bold</b>"),
        ("---\nA rule stays\n1.", "---\nA rule stays\n1."),
    ],
)
def test_clean_path(raw: str, cleaned: str) -> None:
    assert clean_path(raw) == cleaned


@given(any_text | pieces)
def test_cleaning_is_idempotent_and_storable(raw: str) -> None:
    text = clean_path(raw)
    assert clean_path(text) == text
    assert "\x00" not in text
    assert "<think>" not in text.lower()
    assert "</think>" not in text.lower()
    text.encode()


@given(any_text | pieces)
def test_sanitizing_is_idempotent_and_keeps_what_can_be_stored(raw: str) -> None:
    text = sanitize_text(raw)
    assert sanitize_text(text) == text
    assert "\x00" not in text
    text.encode()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_sound_text_stays_as_it_is(text: str) -> None:
    assert sanitize_text(text) == text


def test_surrogates() -> None:
    assert sanitize_text("a\ud83d\ude00b") == "a😀b"
    assert sanitize_text("a\ud83db\ude00\x00") == "a\ufffdb\ufffd\ufffd"


def test_join_reply() -> None:
    assert join_reply("", "D") == "D"
    assert join_reply("because", "D") == "<think>\nbecause\n</think>\n\nD"
    assert clean_path(join_reply("because", "D")) == "because\n\nD"


def test_reasoning_without_content_never_gave_an_answer() -> None:
    assert extract_answer(join_reply("So the answer is A.", ""), ["x", "y"]).letter == ""
