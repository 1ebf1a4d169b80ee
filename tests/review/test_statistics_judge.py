"""The judge against clinicians, shares and their intervals, tiers, sample sizes, change over time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import Table
from statsmodels.stats.proportion import proportion_confint

from apps.review.statistics.acceptance import highest_rate, sample_size
from apps.review.statistics.bootstrap import bootstrap
from apps.review.statistics.drift import change_over_time
from apps.review.statistics.figure import Figure, decimal, undefined
from apps.review.statistics.intervals import clopper_pearson, share_of, wilson
from apps.review.statistics.judge import (
    Calibration,
    Judged,
    judge_figures,
    lang_reiczigel,
    true_error_rate,
)
from apps.review.statistics.linear import standard_error
from apps.review.statistics.tiers import (
    Cutoffs,
    observed_given_true,
    tier_chances,
    true_error_distribution,
    wrong_tier,
)


def rows(found: int, missed: int, blamed: int, passed: int, *, a_question: int = 1, weight: float = 1.0) -> Calibration:
    """Paths by what clinicians and the judge say; `a_question` of them stand together, in this order."""
    said = [(True, True)] * found + [(True, False)] * missed + [(False, True)] * blamed + [(False, False)] * passed
    return Calibration.build(Judged(t, j, i // a_question, weight) for i, (t, j) in enumerate(said))


# --- intervals of a share


def test_wilson_of_the_brief() -> None:
    assert [round(100 * x) for x in (*wilson(90, 100), *wilson(360, 400))] == [83, 94, 87, 93]
    assert wilson(90, 100)[1] == pytest.approx(0.9448, abs=1e-4)  # 94.5 %, which the brief rounds to 95


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_and_exact_are_statsmodels(n: int, share: float) -> None:
    k = round(share * n)
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-9)
    assert clopper_pearson(k, n) == pytest.approx(proportion_confint(k, n, method="beta"), abs=1e-9)


sample = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.floats(0.5, 20)), min_size=1, max_size=30
)  # hit, question, weight


def arrays(drawn: list[tuple[bool, int, float]]) -> tuple[np.ndarray, ...]:
    hit, question, weight = zip(*drawn, strict=True)
    return np.array(hit, float), np.ones(len(hit)), np.array(question), np.array(weight, float)


@given(sample)
def test_a_share_by_hand(drawn: list[tuple[bool, int, float]]) -> None:
    """The ratio, bounds, and Korn–Graubard's effective size from the variance between questions written out."""
    found = share_of(*arrays(drawn))
    assert found is not None
    total = sum(w for _, _, w in drawn)
    p = sum(w for hit, _, w in drawn if hit) / total
    assert found.value == pytest.approx(p)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert 0 < found.effective_n <= found.n == len(drawn)
    questions = {q for _, q, _ in drawn}
    m, n = len(questions), len(drawn)
    if found.method == "Wilson" or m < 2 or not 0 < p < 1:
        return
    off = [sum(w * (hit - p) for hit, q, w in drawn if q == question) / total for question in questions]
    variance = m / (m - 1) * sum(x * x for x in off)
    if variance > 1e-12:
        wanted = p * (1 - p) / variance * (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, m - 1)) ** 2
        assert found.effective_n == pytest.approx(min(n, wanted))
        wanted_limits = proportion_confint(p * found.effective_n, found.effective_n, method="beta")
        assert (found.low, found.high) == pytest.approx(wanted_limits, abs=1e-6)


def test_nine_equal_paths_are_worth_one() -> None:
    """Thirty questions whose nine paths all say the same: 270 paths worth about 30."""
    hits = np.repeat(np.arange(30) % 3 > 0, 9).astype(float)
    found = share_of(hits, np.ones(270), np.repeat(np.arange(30), 9), np.ones(270))
    assert found is not None
    assert 26 < found.effective_n < 30
    low, high = proportion_confint(20, 30, method="beta")
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_where_all_agree_the_questions_are_what_counts() -> None:
    found = share_of(np.ones(90), np.ones(90), np.repeat(np.arange(10), 9), np.ones(90))
    assert found is not None
    assert (found.value, found.high, found.effective_n) == (1.0, 1.0, 10.0)
    assert found.low == pytest.approx(0.025 ** (1 / 10))


def test_a_clustered_interval_holds_what_it_promises() -> None:
    """Of 400 samples of 40 questions whose paths go together, at least 93 % hold the true share."""
    rng = np.random.default_rng(4)
    held, simple = 0, 0
    for _ in range(400):
        chance = rng.beta(2.4, 0.6, size=40)  # mean 0.8
        hits = (rng.random((40, 9)) < chance[:, None]).astype(float).ravel()
        found = share_of(hits, np.ones(360), np.repeat(np.arange(40), 9), np.ones(360))
        assert found is not None
        held += found.low <= 0.8 <= found.high
        low, high = wilson(hits.sum(), 360)
        simple += low <= 0.8 <= high
    assert held >= 0.93 * 400
    assert simple < 0.8 * 400  # what forgetting the questions would have done


# --- linearisation and bootstrap agree


def test_bootstrap_and_formula_say_the_same_of_a_ratio() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((300, 2)) + np.array([0.0, 1.0])

    def ratio(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    again = bootstrap(x, np.arange(300), ratio)
    assert again.error == pytest.approx(standard_error(x, ratio), rel=0.05)
    assert again.low is not None
    assert again.low < x[:, 0].sum() / x[:, 1].sum() < again.high  # type: ignore[operator]
    assert again == bootstrap(x[::-1], np.arange(300)[::-1], ratio)


def test_too_few_questions_have_no_bootstrap() -> None:
    assert bootstrap(np.ones((27, 1)), np.repeat(np.arange(3), 9), lambda s: s[..., 0]).low is None


# --- the judge


def test_judge_by_hand() -> None:
    found = judge_figures(rows(45, 5, 20, 180))
    assert [f.value for f in found.figures] == pytest.approx([0.9, 0.9, 45 / 65, 180 / 185])
    assert [f.n for f in found.figures] == [50, 200, 65, 185]
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx(proportion_confint(45, 50, method="wilson"))
    assert found.sensitivity.sentence == "Of 50 paths that clinicians call Error, the judge finds 45."


def test_judge_without_errors_says_so() -> None:
    found = judge_figures(rows(0, 0, 3, 7))
    assert found.sensitivity.value is None
    assert "no path here an Error" in found.sensitivity.undefined
    assert found.specificity.value == 0.7
    assert judge_figures(rows(0, 0, 0, 0)).npv.undefined.startswith("No path here has a label")


def test_weights_undo_oversampling() -> None:
    """Paths the judge calls Error drawn ten times as often: weighted back, sensitivity is what it is in the run."""
    said = [Judged(True, True, i, 1.0) for i in range(90)] + [Judged(True, False, 100 + i, 10.0) for i in range(9)]
    found = judge_figures(Calibration.build(said)).sensitivity
    assert found.value == pytest.approx(0.5)
    assert found.effective_n < 99
    assert "weighted" in found.sentence


@given(*[st.integers(0, 30)] * 4, st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_judge_symmetry(found: int, missed: int, blamed: int, passed: int, a_question: int) -> None:
    """Exchange the two labels: sensitivity and specificity change places. Exchange the two sides: PPV and sensitivity."""
    sample = rows(found, missed, blamed, passed, a_question=a_question)
    labels = Calibration(~sample.truth, ~sample.judge, sample.clusters, sample.weights)
    sides = Calibration(sample.judge, sample.truth, sample.clusters, sample.weights)
    here, there, across = judge_figures(sample), judge_figures(labels), judge_figures(sides)
    for a, b in (
        (here.sensitivity, there.specificity),
        (here.ppv, there.npv),
        (here.sensitivity, across.ppv),
        (here.specificity, across.npv),
    ):
        assert (a.value, a.low, a.high, a.n) == (b.value, b.low, b.high, b.n)


# --- the true error rate


@given(st.floats(0, 1), st.floats(0.6, 1), st.floats(0.6, 1))
@settings(deadline=None)
@pytest.mark.slow
def test_rogan_gladen_undoes_the_judge(rate: float, sensitivity: float, specificity: float) -> None:
    """What a judge of these qualities would say of `rate` Errors is corrected back to it."""
    found, passed = round(1000 * sensitivity), round(1000 * specificity)
    apparent = rate * found / 1000 + (1 - rate) * (1 - passed / 1000)
    figure = true_error_rate(apparent, rows(found, 1000 - found, 1000 - passed, passed))
    assert figure.value == pytest.approx(rate, abs=1e-9)
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_rogan_gladen_cut_says_so() -> None:
    figure = true_error_rate(0.02, rows(90, 10, 10, 90))
    assert (figure.value, figure.low) == (0.0, 0.0)
    assert "−10.0\N{NO-BREAK SPACE}%, cut at 0" in figure.sentence
    assert "cut at 1" in true_error_rate(0.99, rows(90, 10, 10, 90)).sentence


def test_rogan_gladen_needs_a_judge_better_than_chance() -> None:
    assert "no better than chance" in true_error_rate(0.3, rows(5, 5, 5, 5)).undefined
    assert "cannot be corrected yet" in true_error_rate(0.3, rows(0, 0, 5, 5)).undefined


def test_rogan_gladen_interval_holds_what_it_promises() -> None:
    """Sensitivity .9 and specificity .95 from 60 and 140 paths, the share from 500: 95 % within a point or so."""
    rng = np.random.default_rng(7)
    rate, sensitivity, specificity = 0.25, 0.9, 0.95
    apparent = rate * sensitivity + (1 - rate) * (1 - specificity)
    held = 0
    for k, n, m in zip(
        rng.binomial(500, apparent, 2000), rng.binomial(60, sensitivity, 2000), rng.binomial(140, specificity, 2000),
        strict=True,
    ):  # fmt: skip
        low, high = lang_reiczigel(k / 500, 500, n / 60, 60, m / 140, 140)
        held += low <= rate <= high
    assert 0.94 < held / 2000 < 0.975


def test_lang_reiczigel_as_printed() -> None:
    """The paper's formulas step by step: 20 of 100 positive, sensitivity 18 of 20, specificity 38 of 40."""
    z = stats.norm.ppf(0.975)
    ap, n = (20 + z**2 / 2) / (100 + z**2), 100 + z**2
    se, sp = 19 / 22, 39 / 42
    p = (ap + sp - 1) / (se + sp - 1)
    shift = 2 * z**2 * (p * se * (1 - se) / 22 - (1 - p) * sp * (1 - sp) / 42)
    variance = ap * (1 - ap) / n + p**2 * se * (1 - se) / 22 + (1 - p) ** 2 * sp * (1 - sp) / 42
    half = z * variance**0.5 / (se + sp - 1)
    assert lang_reiczigel(0.2, 100, 0.9, 20, 0.95, 40) == pytest.approx((p + shift - half, p + shift + half))


def test_rogan_gladen_weighted_limits_are_about_the_weighted_value() -> None:
    """Missed Errors drawn at a fifth of the rate: the limits move with the value."""
    said = [
        Judged(t, j, i, 5.0 if t and not j else 1.0)
        for i, (t, j) in enumerate(
            [*[(True, True)] * 80, *[(True, False)] * 20, *[(False, False)] * 95, *[(False, True)] * 5]
        )
    ]
    weighted = true_error_rate(0.2, Calibration.build(said))
    plain = true_error_rate(0.2, Calibration.build(Judged(r.truth, r.judge, r.cluster) for r in said))
    assert weighted.value == pytest.approx(0.15 / (80 / 180 - 0.05))
    assert weighted.low is not None
    assert plain.high is not None
    assert weighted.low > plain.high


def test_rogan_gladen_by_question() -> None:
    """Whole questions drawn: an interval wider than the one that takes paths as independent."""
    pattern = [(45, 5), (50, 0), (30, 20), (49, 1)] * 5
    said = [
        Judged(q % 2 == 0, (q % 2 == 0) == (i < right), q)
        for q, (right, wrong) in enumerate(pattern)
        for i in range(right + wrong)
    ]
    together = true_error_rate(0.4, Calibration.build(said))
    alone = true_error_rate(0.4, Calibration.build(Judged(r.truth, r.judge, i) for i, r in enumerate(said)))
    assert together.value == pytest.approx(alone.value)
    assert "bootstrap over 20 questions" in together.method
    assert together.high - together.low > alone.high - alone.low  # type: ignore[operator]


# --- tiers


def test_wrong_tier_by_true_errors() -> None:
    def percents(sensitivity: float, specificity: float) -> list[float]:
        return [100 * wrong_tier(t, sensitivity=sensitivity, specificity=specificity) for t in range(3, 10)]

    assert [round(x) for x in percents(0.90, 0.95)] == [2, 16, 35, 10, 7, 55, 23]
    assert percents(0.85, 0.90) == pytest.approx([8, 25, 42, 19, 13, 69, 40], abs=0.6)
    assert percents(0.85, 0.90)[1] == pytest.approx(24.46, abs=0.01)


def enumerate_tiers(
    labels: list[bool | None], se: float, sp: float, prior: list[float], cutoffs: Cutoffs
) -> list[float]:
    """By all 2^n true patterns."""
    n = len(labels)
    chances = [0.0, 0.0, 0.0]
    ways = [sum(sum(w) == t for w in product((0, 1), repeat=n)) for t in range(n + 1)]
    for truth in product((False, True), repeat=n):
        p = prior[sum(truth)] / ways[sum(truth)]
        for wrong, label in zip(truth, labels, strict=True):
            if label is not None:
                p *= (se if label else 1 - se) if wrong else (1 - sp if label else sp)
        chances[cutoffs.tier(sum(truth))] += p
    return [c / sum(chances) for c in chances]


@given(
    st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=7),
    st.floats(0.55, 0.99), st.floats(0.55, 0.99), st.floats(0.05, 0.95), st.integers(0, 4), st.integers(0, 3),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
@pytest.mark.slow
def test_tier_chances_are_the_enumeration(
    labels: list[bool | None], se: float, sp: float, share: float, easy: int, more: int
) -> None:
    cutoffs, n = Cutoffs(easy, easy + more), len(labels)
    prior = [float(x) for x in stats.binom.pmf(range(n + 1), n, share)]
    wanted = enumerate_tiers(labels, se, sp, prior, cutoffs)
    for given_prior in (share, prior):
        found = tier_chances(labels, sensitivity=se, specificity=sp, prior=given_prior, cutoffs=cutoffs)
        assert [found.easy, found.medium, found.difficult] == pytest.approx(wanted, abs=1e-9)


def test_a_perfect_judge_leaves_no_doubt() -> None:
    found = tier_chances([True] * 5 + [False] * 4, sensitivity=1, specificity=1, prior=0.3)
    assert (found.medium, found.wrong("medium")) == (1.0, 0.0)
    assert wrong_tier(5, sensitivity=1, specificity=1) == 0
    assert sum(observed_given_true(4, sensitivity=0.8, specificity=0.7)) == pytest.approx(1)


def test_unjudged_paths_say_nothing() -> None:
    nothing = tier_chances([None] * 9, sensitivity=0.9, specificity=0.9, prior=0.264)
    assert nothing.easy == pytest.approx(float(stats.binom.cdf(4, 9, 0.264)))


def test_true_error_distribution_finds_what_was_there() -> None:
    """Questions that differ as published ones do, seen by a judge of .9 / .95: the original shares come back."""
    truth = stats.betabinom.pmf(range(10), 9, 0.264, 0.736)
    seen = sum(share * observed_given_true(t, sensitivity=0.9, specificity=0.95) for t, share in enumerate(truth))
    found = true_error_distribution([round(1e7 * x) for x in seen], sensitivity=0.9, specificity=0.95)
    assert found == pytest.approx(truth, abs=1e-4)


def test_true_error_distribution_without_spread_or_questions() -> None:
    even = true_error_distribution([0] * 10, sensitivity=0.9, specificity=0.9)
    assert even == pytest.approx([0.1] * 10)
    seen = observed_given_true(0, sensitivity=0.9, specificity=0.9)
    nothing = true_error_distribution([round(1e6 * x) for x in seen], sensitivity=0.9, specificity=0.9)
    assert nothing[0] == pytest.approx(1, abs=1e-3)


# --- sample sizes


@pytest.mark.parametrize(
    ("accept", "sizes"),
    [(0, (598, 299, 149, 59)), (1, (947, 473, 236, 93)), (2, (1258, 628, 313, 124)), (5, (2100, 1049, 523, 208))],
)
def test_sample_sizes(accept: int, sizes: tuple[int, ...]) -> None:
    assert tuple(sample_size(rate, accept=accept) for rate in (0.005, 0.01, 0.02, 0.05)) == sizes


@given(st.floats(0.001, 0.5), st.integers(0, 6), st.floats(0.5, 0.999))
def test_a_sample_size_is_the_smallest(rate: float, accept: int, confidence: float) -> None:
    n = sample_size(rate, accept=accept, confidence=confidence)
    assert stats.binom.cdf(accept, n, rate) <= (1 - confidence) * (1 + 1e-9)
    assert n == accept + 1 or stats.binom.cdf(accept, n - 1, rate) > (1 - confidence) * (1 - 1e-9)


def test_size_and_limit_are_one_thing() -> None:
    assert highest_rate(0, 299) == pytest.approx(0.01, abs=5e-5)
    assert highest_rate(0, 298) > 0.01
    with pytest.raises(ValueError, match="between 0 and 1"):
        sample_size(0)


# --- over time


def test_trend_is_the_linear_by_linear_test() -> None:
    hits, totals = [18, 16, 13, 9], [20, 20, 20, 18]
    theirs = Table(np.array([hits, [n - k for k, n in zip(hits, totals, strict=True)]])).test_ordinal_association()
    change = change_over_time("Sensitivity", hits, totals, [1, 2, 3, 4])
    n = sum(totals)
    assert change.p == pytest.approx(stats.chi2.sf(theirs.zscore**2 * n / (n - 1), 1))
    assert change.slope is not None
    assert change.slope < 0
    assert change.sentence.startswith("Sensitivity fell from about 9")
    wider = change_over_time("Sensitivity", hits, totals, [1, 2, 3, 4], design_effect=4)
    assert wider.p is not None
    assert wider.p > change.p  # type: ignore[operator]


@pytest.mark.parametrize(
    ("hits", "totals", "words"),
    [([5], [9], "fewer than two weeks"), ([4, 4], [4, 4], "nothing to test"), ([5, 5], [9, 9], "no clear change")],
)
def test_no_change_is_said(hits: list[int], totals: list[int], words: str) -> None:
    assert words in change_over_time("Specificity", hits, totals, list(range(len(hits)))).sentence


# --- how figures read


def test_figures_read_well() -> None:
    figure = Figure("PPV", "share", 50, 50.0, 0.9, 0.786, 0.9573)
    assert (figure.value_words, figure.interval_words) == ("90.0\N{NO-BREAK SPACE}%", "78.6–95.7\N{NO-BREAK SPACE}%")
    low = Figure("κ", "coefficient", 9, 9.0, -0.2, -0.5, 0.1)
    assert (low.value_words, low.interval_words) == ("−0.20", "−0.50 to 0.10")
    assert decimal(-0.001) == "0.00"
    nothing = undefined("κ", "coefficient", "because")
    assert (nothing.value_words, nothing.interval_words) == ("–", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_figure_is_never_nan_nor_unexplained(value: float | None) -> None:
    with pytest.raises(ValueError, match=r"NaN|says why"):
        Figure("κ", "coefficient", 1, 1.0, value)
