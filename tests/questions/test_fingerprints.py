"""When two questions are the same, and when they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.questions.fingerprints import fingerprint, normalise, normalise_option, spell, stem_fingerprint

texts = st.text(max_size=60)
invisible = st.sampled_from(["\u200b", "\u200e", "\u202a", "\u2060", "\ufeff", "\u00ad"])
space = st.sampled_from([" ", "  ", "\t", "\n", "\u00a0", "\u2009", "\r\n"])


@given(texts)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)
    assert spell(spell(text)) == spell(text)


@given(st.lists(st.text("abcdé↓5+", min_size=1, max_size=8), min_size=1), space, invisible)
def test_white_space_and_invisible_marks_do_not_count(words, gap, mark):
    assert normalise(f" {mark}{gap.join(words)}{gap}") == normalise(" ".join(words))


@given(texts, st.lists(texts, min_size=2, max_size=5), st.randoms())
def test_the_order_of_options_does_not_count(stem, options, random):
    shuffled = random.sample(options, len(options))
    assert fingerprint(stem, options) == fingerprint(stem, shuffled)


@given(
    st.lists(st.text("ab", max_size=3), min_size=2, max_size=3),
    st.lists(st.text("ab", max_size=3), min_size=2, max_size=3),
)
def test_equal_only_if_the_parts_are_equal(left, right):
    """No join of parts can look like another join."""
    same = left[0] == right[0] and sorted(left[1:]) == sorted(right[1:])
    assert (fingerprint(left[0], left[1:]) == fingerprint(right[0], right[1:])) == same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("↓ ↓ ↓", "↓ ↑ ↓"),
        ("A+", "A-"),
        ("Rh -", "Rh"),
        ("1.5 mg", "15 mg"),
        ("> 5", "< 5"),
        ("5 %", "5"),
        ("α-blocker", "β-blocker"),
    ],
)
def test_symbols_make_another_question(left, right):
    assert fingerprint("Which?", [left, "none"]) != fingerprint("Which?", [right, "none"])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Metformin", "metformin"),
        ("no-break\u00a0space", "no-break space"),
        ("ﬁbrosis", "fibrosis"),
        ("5 µg", "5 μg"),
        ("zero\u200bwidth", "zerowidth"),
        ("e\u0301tude", "étude"),
        ("Amelogenesis.", "Amelogenesis"),
    ],
)
def test_the_way_of_writing_does_not(left, right):
    assert fingerprint("Which?", [left, "none"]) == fingerprint("Which?", [right, "none"])


def test_the_end_of_a_stem_does_not_count():
    stems = ("Loading dose is determined by", "Loading dose is determined by:-", "loading dose is determined by ?")
    assert len({fingerprint(stem, ["a", "b"]) for stem in stems}) == 1


def test_contexts_count_and_their_labels_do_not():
    plain = fingerprint("Does it work?", ["yes", "no"])
    first = fingerprint("Does it work?", ["yes", "no"], [{"label": "AIM", "text": "Forty mice."}])
    assert first == fingerprint("Does it work?", ["yes", "no"], [{"label": "", "text": "forty  mice."}])
    assert (
        len({plain, first, fingerprint("Does it work?", ["yes", "no"], [{"label": "AIM", "text": "Ten mice."}])}) == 3
    )


def test_the_stem_alone_is_found_under_any_punctuation():
    assert stem_fingerprint("GNAS-1 mutation: seen in") == stem_fingerprint("GNAS 1 mutation, seen in:-")
    assert stem_fingerprint("↓ T4") != stem_fingerprint("↑ T4")
    assert stem_fingerprint("?") != stem_fingerprint("!")


def test_case_counts_within_a_question():
    assert spell("AA") != spell("aa")
    assert normalise_option("None.") == normalise_option("none")
    assert normalise_option("...") == "..."
