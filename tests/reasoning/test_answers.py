"""The answer a reply states: adversarial cases, properties, and 400 real replies against a hand-checked table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.answers import NO_ANSWER, extract_answer
from apps.reasoning.cleaning import final_part
from apps.reasoning.option_text import LETTERS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
OPTIONS = ("Infuse bicarbonate slowly", "Switch fluids", "Start insulin", "Replace potassium")
YES_NO = ("yes", "no", "maybe")
GENES = ("Aspirin", "Aspirin 81 mg", "B lymphocytes", "None of the above", "Vitamin C")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("… so potassium first.\n\nFinal answer: D. Replace potassium", "D"),
        ("<think>A looks right. The answer is A.</think>\n\nD", "D"),
        ("A looks right, the prompt opened the block</think>\n\n**D**", "D"),
        ("## Thinking\n\nThe answer is A.\n\n## Final Response\n\nThe best step is to replace potassium.", "D"),
        ("## Thinking\n\nPotassium is low.\n\nFinal answer: D. Replace potassium", "D"),
        ("## Thinking\n\nIt is low.\n\n## Conclusion\n\nThe answer is D.", "D"),
        ("<think>hm</think>So $\\boxed{\\text{C}}$.", "C"),
        ("\\boxed{D. Replace potassium} is what I would do", "D"),
        ("Therefore, the answer is **(C) Start insulin**.", "C"),
        ("Thus the correct answer is:\n\n(B) Switch fluids\n\nThis restores volume.", "B"),
        ("Thus, the most likely step is potassium replacement (D).", "D"),
        ("So (C) is the best answer.", "C"),
        ("Option B is correct.", "B"),
        ("The correct option is C, not D.", "C"),
        ("Answer: d", "D"),
        ("The answer is d.", "D"),
        ('{"reason": "low potassium", "answer": "D"}', "D"),
        ("5. **Final Answer**:\n   - The best next step is **D. Replace potassium**.", "D"),
        ("### Final Answer\nReplace potassium", "D"),
        ("B. Switch fluids\n\nHypovolaemia comes first in this patient.", "B"),
        ("The answer is （D）", "D"),
        ("I would choose C.", "C"),
        ("The answer is C.\n\nOptions A and B do not treat the ketosis.", "C"),
        ("The answer is A. Then again the gap is closed. The answer is B.", "B"),
        ("The answer is D. It could be argued that the answer might be B.", "D"),
        ("The answer is D.\n\nIf the potassium were normal, the answer would be C.", "D"),
        ("Is the answer A? It is not. The answer is D.", "D"),
        ("The final answer is D because A, B and C ignore the potassium.", "D"),
        ("<think>one</think>\n\nC\n\n<think>two</think>\n\nD", "D"),
    ],
)
def test_stated_answer_is_found(text: str, letter: str) -> None:
    assert extract_answer(text, OPTIONS).letter == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\n",
        "<think>So the answer is D. Replace potassium.",
        "<think>first</think><think>So the answer is D.",
        "## Thinking\n\nThe answer is D.\n\n## Final Response\n\n",
        "## Thinking\n\nSo the answer is D. But then",
        "The answer is B or C.",
        "The answer is (B) and (C).",
        "Answer: B/C",
        "The answer is C. Replace potassium",  # a letter with another option's words
        "Replace potassium (C) is the best answer? The answer is Replace potassium (C).",
        "The answer could be D.",
        "The answer is not D.",
        "The answer is neither B nor C.",
        "Maybe the answer is D?",
        "Answer: E",
        "Final answer: refer to a specialist.",
        "The answer is D. The answer is none of these options, so final answer: call for help",
        "The answer is D.\n\nWait, that ignores the pH.",
        "A. Infuse bicarbonate slowly\nB. Switch fluids\nC. Start insulin\nD. Replace potassium",
        "A patient with diabetes needs care.",
        "I am not able to determine the answer without the labs.",
        "The following can be ruled out:\n\n(C) Start insulin\n\nThe rest needs labs.",
        "Start insulin and replace potassium are both needed, therefore both are the best.",
        "The answer is a matter of debate.",
    ],
)
def test_no_answer_is_never_guessed(text: str) -> None:
    assert extract_answer(text, OPTIONS) == NO_ANSWER


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Thus, the answer is **no**.", "B"),
        ("Answer: Maybe", "C"),
        ("Final answer: A. yes", "A"),
        ("Yes", "A"),
        ("In conclusion:\n\nNo.", "B"),
        ("Final answer: A. no", ""),
        ("The answer is no longer clear.", ""),
        ("There is no difference between groups, and yes, that matters.", ""),
        ("\\boxed{yes}", "A"),
    ],
)
def test_yes_no_maybe(text: str, letter: str) -> None:
    assert extract_answer(text, YES_NO).letter == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is Aspirin 81 mg.", "B"),
        ("The answer is aspirin.", "A"),
        ("The answer is B lymphocytes.", "C"),
        ("The answer is B cells.", ""),
        ("Answer: None of the above", "D"),
        ("Vitamin C is the best choice.", "E"),  # not the letter C
        ("Hepatitis B is the best explanation.", ""),
        ("The answer is vitamin C.", "E"),
    ],
)
def test_words_that_look_like_letters(text: str, letter: str) -> None:
    assert extract_answer(text, GENES).letter == letter


def test_options_with_the_same_words_need_the_letter() -> None:
    options = ("Heart", "Liver", "Liver", "Kidney")
    assert extract_answer("The answer is Liver.", options) == NO_ANSWER
    assert extract_answer("The answer is C. Liver", options).letter == "C"


def test_options_that_are_letters() -> None:
    options = ("A", "B", "C", "E")  # regions of a picture
    assert extract_answer("Final answer: **E**", options).letter == "D"
    assert extract_answer("Final answer: (D) E", options).letter == "D"


def test_ten_options() -> None:
    options = [f"Drug {n}" for n in range(10)]
    assert extract_answer("The answer is J.", options).letter == "J"
    assert extract_answer("The answer is I think unclear", options) == NO_ANSWER
    assert extract_answer("Answer: (I) Drug 8", options).letter == "I"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Final answer: D. Replace potassium\n\nThis is", "D"),
        ("Final answer: D", ""),  # may have been "D and …" or a word
        ("So the answer is D. This is because", ""),
        ("Insulin shifts potassium.\n\n(D)", ""),
        ("<think>long</think>\n\n\\boxed{D} and so", "D"),
        ("<think>So \\boxed{D}. More", ""),
    ],
)
def test_reply_cut_at_the_cap(text: str, letter: str) -> None:
    assert extract_answer(text, OPTIONS, finish_reason="length").letter == letter


def test_only_thinking_counts_where_it_is_closed_and_says_so() -> None:
    assert extract_answer("<think>So the answer is D.</think>", OPTIONS).how == "thinking"
    assert extract_answer("<think>So the answer is D.</think>", OPTIONS, finish_reason="length") == NO_ANSWER
    assert extract_answer("<think>D seems fine</think>", OPTIONS) == NO_ANSWER


def test_final_part() -> None:
    assert final_part("<THINK>a</THINK> b") == (" b", "a")
    assert final_part("a </think> b")[0] == " b"
    assert final_part("<think>a") == ("", "")


texts = st.text(st.characters(exclude_categories=[]), max_size=300) | st.lists(
    st.sampled_from(
        ["<think>", "</think>", "The answer is ", "B", " or ", "C", "\n", ".", "**", "\\boxed{", "}", "## Final Response\n", "Start insulin", "(", ")", "not ", ": ", "?"]
    ),
    max_size=25,
).map("".join)  # fmt: skip
option_lists = st.lists(st.text(max_size=30), min_size=1, max_size=12)


@given(texts, option_lists, st.sampled_from(["stop", "length", ""]))
def test_any_text_gives_a_letter_of_the_options_or_none(text: str, options: list[str], finish: str) -> None:
    answer = extract_answer(text, options, finish_reason=finish)
    assert answer.letter == "" or answer.letter in LETTERS[: len(options)]
    assert bool(answer.letter) == bool(answer.how)
    assert len(answer.how) <= 20


@given(texts, st.sampled_from("ABCD"))
def test_an_appended_final_line_is_always_found(text: str, letter: str) -> None:
    line = f"Final answer: {letter}. {OPTIONS['ABCD'.index(letter)]}"
    assert extract_answer(f"{text}</think>\n\n{line}", OPTIONS).letter == letter
    assert extract_answer(f"{text}</think>\n\n{line}\n", OPTIONS, finish_reason="length").letter in (letter, "")


@pytest.mark.slow
def test_hostile_text_takes_no_quadratic_time() -> None:
    for piece in (
        "(",
        "answer ",
        "\\boxed{",
        "<think>",
        "A. ",
        "is is ",
        "the answer is (",
        "- ",
        "option ",
        "**",
        "= :",
    ):
        extract_answer(piece * 20_000, OPTIONS)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.exists(), reason="the public data sets are not beside the checkout")
def test_real_replies_against_the_hand_checked_table() -> None:
    """The table was read off the replies' endings by a person's eye; `predicted_answer` in the files is not the truth."""
    with (Path(__file__).parent / "answers_gold.csv").open() as table:
        gold = {(row["file"], int(row["realidx"])): row["letter"] for row in csv.DictReader(table)}
    wrong = []
    seen = 0
    for name in sorted({file for file, _ in gold}):
        for record in json.loads((SHARED / "model_outputs" / name).read_text()):
            reply = record.get("completion") or record["raw_response"]
            found = extract_answer(reply, list(record["options"].values())).letter
            seen += 1
            if found != gold[name, record["realidx"]]:
                wrong.append((name, record["realidx"], found))
    stated = [key for key, letter in gold.items() if letter]
    assert (seen, len(stated)) == (400, 339)
    assert not [w for w in wrong if not gold[w[:2]]], "a letter where the reply states none"
    assert len(wrong) <= 0.01 * len(stated), wrong
