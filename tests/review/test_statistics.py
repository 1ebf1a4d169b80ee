"""Agreement: published examples, the reference libraries, and what must hold for any ratings."""

from __future__ import annotations

import math
from itertools import combinations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats import inter_rater

from apps.review.statistics.agreement import (
    Rating,
    RatingTable,
    agreement,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    raw_agreement,
)
from apps.review.statistics.figure import Figure
from apps.review.statistics.intervals import t_of

LETTERS = "CE"


def table(rows: list[str], categories: str = LETTERS, clusters: list[int] | None = None) -> RatingTable:
    """One string an item, one letter a rater; "." where the rater gave none."""
    return RatingTable.build(
        [
            Rating(item, rater, letter, clusters[item] if clusters else None)
            for item, row in enumerate(rows)
            for rater, letter in enumerate(row)
            if letter != "."
        ],
        tuple(categories),
    )


NINETY = ["CC"] * 90 + ["EE"] * 3 + ["CE"] * 4 + ["EC"] * 3
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", the nominal example with gaps, which Gwet's
# handbook uses too: 12 units, 4 observers, 5 categories. α = 0.743, AC1 = 0.775, κ = 0.761.
WITH_GAPS = ["aa.a", "bbcb", "cccc", "cccc", "bbbb", "abcd", "dddd", "aaba", "bbbb", ".eee", "..aa", "..c."]
THREE = ["CCE", "CC.", "EEE", "CEE", "CCC", "E.E", "CC.", "CCC", "EEC", "C.C", "CCC", "E..", "CCC", "CEC", "EEE"]
# (rows, categories) → value and standard error of κ, AC1, α by irrCAC 0.4.4, which does not install beside numpy 2
IRRCAC = [
    (WITH_GAPS, "abcde", ((0.76117, 0.15302), (0.77544, 0.14295), (0.74342, 0.14557))),
    (NINETY, "CE", ((0.42411, 0.18026), (0.92031, 0.0312), (0.42698, 0.18026))),
    (THREE, "CE", ((0.60317, 0.17175), (0.6337, 0.17873), (0.55952, 0.18704))),
]


def test_ninety_three_of_a_hundred() -> None:
    found = agreement(table(NINETY))
    assert [round(f.value, 2) for f in found.figures if f.value is not None] == [0.93, 0.42, 0.92, 0.43]
    assert found.raw.sentence == "Two reviewers agree on 93 of 100 paths."
    assert "prevalence" in found.kappa.sentence
    assert "93.5\N{NO-BREAK SPACE}%" in found.kappa.sentence
    assert found.kappa.low is not None


def test_cohens_kappa_of_wikipedia_and_its_interval() -> None:
    """20 both yes, 15 both no, 5 and 10 apart: κ = 0.40; the error is statsmodels'."""
    figure = cohen_kappa(table(["CC"] * 20 + ["CE"] * 5 + ["EC"] * 10 + ["EE"] * 15))
    theirs = inter_rater.cohens_kappa(np.array([[20, 5], [10, 15]]))
    assert figure.value == pytest.approx(0.4)
    assert figure.value == pytest.approx(theirs.kappa)
    error = math.sqrt(50 / 49) * theirs.std_kappa  # ours is corrected for a small sample
    assert figure.low == pytest.approx(0.4 - 2.009575 * error, abs=1e-5)  # t with 49 degrees of freedom


def test_fleiss_1971_worked_example_of_wikipedia() -> None:
    """Ten subjects, fourteen raters, five categories: κ = 0.210."""
    counts = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    rows = ["".join(letter * n for letter, n in zip("12345", row, strict=True)) for row in counts]
    figure = fleiss_kappa(table(rows, "12345"))
    assert figure.value == pytest.approx(0.20993, abs=1e-5)
    assert figure.value == pytest.approx(inter_rater.fleiss_kappa(np.array(counts)))


@pytest.mark.parametrize(("rows", "categories", "wanted"), IRRCAC)
def test_as_irrcac(rows: list[str], categories: str, wanted: tuple[tuple[float, float], ...]) -> None:
    """Values and standard errors, gaps and all (α's error within two per mille, as they mix two of its forms)."""
    ratings = table(rows, categories)
    for measure, (value, error) in zip((fleiss_kappa, gwet_ac1, krippendorff_alpha), wanted, strict=True):
        figure = measure(ratings)
        assert figure.value == pytest.approx(value, abs=1e-5)
        assert figure.low is not None
        ours = (figure.value - figure.low) / t_of(0.95, (figure.n if measure is krippendorff_alpha else len(rows)) - 1)
        assert ours == pytest.approx(error, rel=2e-3)


def test_one_label_among_gaps_counts_only_where_it_may() -> None:
    """A path judged once is no evidence of agreement, but it tells how often a label is given."""
    with_it, without = table([*NINETY, "E."]), table(NINETY)
    assert raw_agreement(with_it) == raw_agreement(without)
    assert krippendorff_alpha(with_it).value == krippendorff_alpha(without).value
    assert cohen_kappa(with_it).value == cohen_kappa(without).value
    assert gwet_ac1(with_it).value != gwet_ac1(without).value


def test_nothing_to_compare_is_said() -> None:
    for rows in ([], ["C.", ".E"]):
        for figure in agreement(table(rows)).figures:
            assert figure.value is None
            assert figure.undefined
            assert figure.sentence == figure.undefined
    assert "none of them by two people" in raw_agreement(table(["C.", ".E"])).sentence


def test_all_equal_leaves_kappa_undefined_and_says_why() -> None:
    found = agreement(table(["CC"] * 40))
    assert found.kappa.value is None
    assert "every label given is C, so chance alone would agree as well" in found.kappa.undefined
    assert found.alpha.value is None
    assert found.ac1.value == 1.0
    assert found.ac1.low is None  # a width of nothing would claim certainty
    assert "No interval" in found.ac1.sentence
    assert found.raw.value == 1.0
    assert found.raw.low == pytest.approx(0.9124, abs=1e-4)  # Wilson says how far 40 go


def test_questions_with_several_paths_widen_the_interval() -> None:
    """The same labels, once each path of its own question, once nine paths of a question that go together."""
    rows = ["CC"] * 63 + ["CE"] * 9 + ["EE"] * 18
    alone = agreement(table(rows))
    together = agreement(table(rows, clusters=[i // 9 for i in range(90)]))
    for one, nine in zip(alone.figures, together.figures, strict=True):
        assert one.value == pytest.approx(nine.value)
        assert one.low is not None
        assert one.high is not None
        assert nine.low is not None
        assert nine.high is not None
        assert nine.high - nine.low > one.high - one.low
        assert nine.effective_n < nine.n == one.effective_n
    assert "question" in together.kappa.method


def test_weights_speak_for_what_was_drawn_less_often() -> None:
    """Disagreements drawn at a tenth of the rate count ten times; equal weights change nothing."""
    given = [
        Rating(i, r, "C" if i < 90 or r == 0 else "E", weight=1.0 if i < 90 else 10.0)
        for i in range(100)
        for r in (0, 1)
    ]
    weighted = raw_agreement(RatingTable.build(given, tuple("CE")))
    assert weighted.value == pytest.approx(90 / 190)
    assert weighted.effective_n < 100
    same = [Rating(r.item, r.rater, r.label, weight=7.0) for r in given]
    assert raw_agreement(RatingTable.build(same, tuple("CE"))).value == pytest.approx(0.9)


@given(
    st.lists(st.tuples(st.sampled_from(["CCC", "CCE", "CEE", "EE.", "C.E"]), st.integers(1, 4)), min_size=2, max_size=9)
)
def test_a_weight_of_three_is_three_such_paths(drawn: list[tuple[str, int]]) -> None:
    """True of what depends on shares alone."""
    for measure, cut in ((fleiss_kappa, 3), (gwet_ac1, 3), (raw_agreement, 3), (cohen_kappa, 2)):
        weighted = RatingTable.build(
            [
                Rating(item, rater, letter, weight=float(weight))
                for item, (row, weight) in enumerate(drawn)
                for rater, letter in enumerate(row[:cut])
                if letter != "."
            ],
            tuple(LETTERS),
        )
        repeated = table([row[:cut] for row, weight in drawn for _ in range(weight)])
        one, other = measure(weighted), measure(repeated)
        assert (one.value is None) == (other.value is None)
        assert one.value is None or one.value == pytest.approx(other.value)


rows_of = st.integers(2, 4).flatmap(
    lambda raters: st.lists(st.text("CE.", min_size=raters, max_size=raters), min_size=1, max_size=14)
)


def naive_pairs(rows: list[str]) -> list[list[tuple[str, str]]]:
    """The pairs of labels of each item that has any."""
    found = [list(combinations([c for c in row if c != "."], 2)) for row in rows]
    return [pairs for pairs in found if pairs]


@given(rows_of)
def test_raw_agreement_is_the_mean_over_items_of_equal_pairs(rows: list[str]) -> None:
    pairs = naive_pairs(rows)
    figure = raw_agreement(table(rows))
    if not pairs:
        assert figure.value is None
        return
    assert figure.value == pytest.approx(sum(sum(a == b for a, b in p) / len(p) for p in pairs) / len(pairs))
    assert figure.n == len(pairs)
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


@given(rows_of)
def test_alpha_is_the_packages(rows: list[str]) -> None:
    figure = krippendorff_alpha(table(rows))
    labels = {c for row in rows if sum(x != "." for x in row) > 1 for c in row if c != "."}
    if len(labels) < 2:
        assert figure.value is None
        return
    data = np.array([[np.nan if c == "." else LETTERS.index(c) for c in row] for row in rows], dtype=float).T
    wanted = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal", value_domain=[0, 1])
    assert figure.value == pytest.approx(wanted)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # statsmodels has no error for a constant rater
@given(st.lists(st.sampled_from(["CC", "CE", "EC", "EE"]), min_size=2, max_size=40))
def test_kappa_of_two_is_statsmodels(rows: list[str]) -> None:
    counts = np.array([[rows.count(a + b) for b in LETTERS] for a in LETTERS])
    figure = cohen_kappa(table(rows))
    if counts[0, 0] == len(rows) or counts[1, 1] == len(rows):
        assert figure.value is None
        return
    theirs = inter_rater.cohens_kappa(counts)
    assert figure.value == pytest.approx(theirs.kappa)


def naive_ac1(rows: list[str]) -> float:
    agreed = [sum(a == b for a, b in p) / len(p) for p in naive_pairs(rows)]
    shares = [[c for c in row if c != "."] for row in rows]
    error = [row.count("E") / len(row) for row in shares if row]
    p = sum(error) / len(error)
    return (sum(agreed) / len(agreed) - 2 * p * (1 - p)) / (1 - 2 * p * (1 - p))


@given(rows_of)
def test_ac1_is_gwets_definition(rows: list[str]) -> None:
    figure = gwet_ac1(table(rows))
    if not naive_pairs(rows):
        assert figure.value is None
        return
    assert figure.value == pytest.approx(naive_ac1(rows))


def same(a: Figure, b: Figure) -> bool:
    if a.value is None or b.value is None:
        return a.value is b.value
    close = a.value == pytest.approx(b.value) and a.n == b.n
    if a.low is None or b.low is None:
        return close and a.low is b.low
    return bool(close and a.low == pytest.approx(b.low) and a.high == pytest.approx(b.high))


@given(rows_of, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=40, deadline=None)
def test_neither_order_nor_names_matter(rows: list[str], random: object, clustered: bool) -> None:
    """Items in another order, people in another order, labels exchanged: the same figures and intervals."""
    clusters = [i // 3 for i in range(len(rows))] if clustered else None
    before = agreement(table(rows, clusters=clusters))
    places = list(range(len(rows)))
    random.shuffle(places)  # type: ignore[attr-defined]
    moved = agreement(table([rows[i] for i in places], clusters=clusters and [clusters[i] for i in places]))
    turned = agreement(table([row[::-1] for row in rows], clusters=clusters))
    swapped = agreement(table([row.translate(str.maketrans("CE", "EC")) for row in rows], clusters=clusters))
    for other in (moved, turned):
        assert all(same(a, b) for a, b in zip(before.figures, other.figures, strict=True))
    for a, b in zip(before.figures, swapped.figures, strict=True):
        assert (a.value is None) == (b.value is None)
        assert a.value is None or a.value == pytest.approx(b.value)


@given(rows_of, st.booleans())
@settings(max_examples=60, deadline=None)
def test_bounds_and_never_a_nan(rows: list[str], clustered: bool) -> None:
    clusters = [i // 3 for i in range(len(rows))] if clustered else None
    for figure in agreement(table(rows, clusters=clusters)).figures:
        assert figure.sentence
        assert (figure.low is None) == (figure.high is None)
        assert 0 <= figure.effective_n <= figure.n
        if figure.value is not None:
            assert figure.value <= 1 + 1e-9
            assert figure.low is None or figure.high is None or figure.low <= figure.high <= 1
