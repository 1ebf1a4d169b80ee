from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.option_text import LETTERS
from apps.reasoning.sentences import split_sentences
from apps.reasoning.stances import OptionStance, stances

OPTIONS = ("Infuse bicarbonate slowly", "Switch fluids", "Start insulin", "Replace potassium")


def read(text: str) -> dict[str, OptionStance]:
    return stances(split_sentences(text), OPTIONS)


def test_each_option_evaluated() -> None:
    found = read(
        "Let's see.\n"
        "- Option A: Infuse bicarbonate slowly: not recommended at this pH.\n"
        "- Option B: this is wrong. It would also do harm without need.\n"
        "- (D) Replace potassium: correct, since it is low.\n"
        "Therefore, the answer is D."
    )
    assert found["A"] == OptionStance("against", (2,))
    assert found["B"] == OptionStance("against", (3, 4))
    assert found["C"] == OptionStance("silent", ())
    assert found["D"] == OptionStance("for", (5, 6))


def test_clauses_of_one_sentence_are_told_apart() -> None:
    found = read("Option C is wrong, but option D is the best choice.")
    assert (found["C"].stance, found["D"].stance) == ("against", "for")


def test_named_only() -> None:
    assert read("One choice would switch fluids (B).")["B"].stance in ("named", "for")
    assert read("Then there is option B.")["B"] == OptionStance("named", (1,))
    assert read("Is option B the best?")["B"] == OptionStance("named", (1,))


def test_wavering_and_making_up_its_mind() -> None:
    wavers = "Option C is best.\nOption C is wrong here."
    assert read(wavers)["C"] == OptionStance("wavers", (1, 2))
    assert read(f"{wavers}\nOption C is incorrect.")["C"] == OptionStance("against", (2, 3))


def test_announced_answer_counts_for_it() -> None:
    found = read("Potassium is low.\nThe correct answer is:\n**(D) Replace potassium**")
    assert found["D"] == OptionStance("for", (3,))


@given(st.text(max_size=200) | st.lists(st.sampled_from(["(A) ", "option B ", "not ", "best ", ". ", "\n", ": ", "Start insulin ", "?"]), max_size=30).map("".join), st.lists(st.text(max_size=20), min_size=1, max_size=10))  # fmt: skip
def test_every_option_has_a_stance_on_real_sentences(text: str, options: list[str]) -> None:
    sentences = split_sentences(text)
    found = stances(sentences, options)
    assert list(found) == list(LETTERS[: len(options)])
    for stance in found.values():
        assert (stance.stance == "silent") == (stance.sentences == ())
        assert list(stance.sentences) == sorted(set(stance.sentences))
        assert set(stance.sentences) <= set(range(1, len(sentences) + 1))
