from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.cleaning import clean_path
from apps.reasoning.sentences import conclusion_index, opening_length, split_sentences

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def texts(text: str) -> list[str]:
    return [s.text for s in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n ", []),
        ("One. Two.", ["One.", "Two."]),
        ("Dr. Smith saw him. He left.", ["Dr. Smith saw him.", "He left."]),
        ("Give fluids, e.g. Ringer's, vs. Insulin first. Then wait.", ["Give fluids, e.g. Ringer's, vs. Insulin first.", "Then wait."]),
        ("Give 5 mg. daily i.v. for a week. Stop then.", ["Give 5 mg. daily i.v. for a week.", "Stop then."]),
        ("He takes 5 mg. The dose is low.", ["He takes 5 mg.", "The dose is low."]),
        ("K is 3.1 mEq/L. pH is 7.1.", ["K is 3.1 mEq/L.", "pH is 7.1."]),
        ("The organism is E. coli. It ferments.", ["The organism is E. coli.", "It ferments."]),
        ("1. First point. More.\n2. Second", ["1. First point.", "More.", "2. Second"]),
        ("- **B.** Bullet one\n* Two", ["- **B.** Bullet one", "* Two"]),
        ("# Heading\nText", ["# Heading", "Text"]),
        ("So the answer is D. Replace potassium intravenously.", ["So the answer is D. Replace potassium intravenously."]),
        ("So the answer is D. This is because it is low.", ["So the answer is D.", "This is because it is low."]),
        ("Final answer: B. Switch fluids", ["Final answer: B. Switch fluids"]),
        ("A. Infuse bicarbonate\nB. Switch", ["A. Infuse bicarbonate", "B. Switch"]),
        ("Is it? Yes! \"So.\" He said so…  and went.", ["Is it?", "Yes!", "\"So.\"", "He said so…  and went."]),
        ("*It is low.* Next.", ["*It is low.*", "Next."]),
        ("No end", ["No end"]),
        ("低い。次に。", ["低い。", "次に。"]),
    ],
)  # fmt: skip
def test_splitting(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


words = st.lists(
    st.sampled_from(["Dr. ", "e.g. ", "3.1", ". ", "! ", "?", "\n", "\r\n", " ", "A", "b", "1. ", "- ", "mg. ", "is D. ", "…", "”", "。", "\x85", "\x1c", "\u2028"]), max_size=40
).map("".join)  # fmt: skip


@given(st.text(max_size=300) | words)
def test_sentences_cover_all_that_is_not_blank_in_order_without_overlap(text: str) -> None:
    sentences = split_sentences(text)
    end = line = 0
    for number, sentence in enumerate(sentences, 1):
        assert sentence.number == number
        assert sentence.text == text[sentence.start : sentence.end] == sentence.text.strip()
        assert sentence.text
        assert text[end : sentence.start].strip() == ""
        assert line <= sentence.line <= line + 1
        end, line = sentence.end, sentence.line
    assert text[end:].strip() == ""


@given(st.text(max_size=300) | words)
def test_opening_and_conclusion_lie_within_the_path(text: str) -> None:
    sentences = split_sentences(text)
    assert 0 <= opening_length(sentences, text) <= len(sentences) // 3
    assert (
        conclusion_index(sentences) in range(1, len(sentences) + 1) if sentences else conclusion_index(sentences) == 0
    )


def test_opening_is_throat_clearing_and_restating() -> None:
    stem = "A 24-year-old woman with diabetes is found unconscious at work. What is the next step?"
    path = (
        "Okay, let's tackle this question. The woman with diabetes was found unconscious at work. "
        "Potassium is low, which is dangerous. Insulin lowers it. So potassium comes first. It is given by vein. "
        "Then insulin follows. Fluids go on. Then the gap closes. The answer is D."
    )
    assert opening_length(split_sentences(path), stem) == 2
    assert opening_length(split_sentences(path.removeprefix("Okay, let's tackle this question. The woman with diabetes was found unconscious at work. ")), stem) == 0  # fmt: skip
    judged = "Okay, the answer is D because potassium is low. One. Two. Three."
    assert opening_length(split_sentences(judged)) == 0


def test_conclusion() -> None:
    body = "First. Second. Third. Fourth. Fifth. Sixth. Seventh. Eighth. Ninth."
    assert conclusion_index(split_sentences(body)) == 9
    assert conclusion_index(split_sentences(f"{body} Therefore, it is D. It is low.")) == 10
    assert conclusion_index(split_sentences(f"{body}\n## Final Response\nIt is D.\nReally so.\nAnd so.")) == 10


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.exists(), reason="the public data sets are not beside the checkout")
def test_real_paths() -> None:
    records = json.loads((SHARED / "nine_paths_medqa_hard.json").read_text())
    path = clean_path(records[65]["model1_COT1"])
    sentences = split_sentences(path)
    said = [s.text for s in sentences]
    assert said[0] == "Okay, let's tackle this question."
    assert "The ABG shows pH 7.1, which is pretty acidic." in said
    assert said[-2:] == ["So the correct answer is D. Replace potassium intravenously.", "C"]
    assert opening_length(sentences, records[65]["question"]) == 2
