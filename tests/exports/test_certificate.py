"""Certificate statistics: the figures of the tables, a reference library, and that the stated confidence holds."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from apps.exports.certificate.bounds import (
    Misses,
    Stratum,
    corrected_bound,
    corrected_rate,
    corrected_sample_size,
    finite_bound,
    finite_sample_size,
    hypergeometric_cdf,
    stratified_bound,
)
from apps.exports.certificate.claim import claim_from_sample, claim_from_sequence, percent_up
from apps.exports.certificate.sequential import Sprt
from apps.review.statistics.acceptance import highest_rate, sample_size
from reasonmed_verify.drawing import draw_sample

REPETITIONS = 10_000
SLACK = 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)  # three standard errors of a simulated 95 %


# --- one sample


@pytest.mark.parametrize(
    ("accept", "sizes"),
    [(0, (598, 299, 149, 59)), (1, (947, 473, 236, 93)), (2, (1258, 628, 313, 124)), (5, (2100, 1049, 523, 208))],
)
def test_sample_sizes_of_the_table(accept, sizes):
    assert tuple(sample_size(rate, accept=accept) for rate in (0.005, 0.01, 0.02, 0.05)) == sizes


@given(st.integers(1, 3000), st.data())
@settings(deadline=None)
def test_the_upper_bound_is_that_of_the_library(n, data):
    faults = data.draw(st.integers(0, n))

    exact = stats.binomtest(faults, n, alternative="less").proportion_ci(0.95, method="exact").high

    assert highest_rate(faults, n) == pytest.approx(exact, abs=1e-9)


def test_the_bound_and_the_sample_size_say_the_same():
    for accept in (0, 1, 2, 5):
        n = sample_size(0.01, accept=accept)
        assert highest_rate(accept, n) <= 0.01 < highest_rate(accept, n - 1)


# --- few records


@given(st.integers(1, 400), st.data())
@settings(deadline=None)
def test_the_hypergeometric_distribution_is_that_of_the_library(records, data):
    wrong, n = data.draw(st.integers(0, records)), data.draw(st.integers(0, records))
    faults = data.draw(st.integers(0, n))

    assert hypergeometric_cdf(faults, n, wrong, records) == pytest.approx(
        stats.hypergeom.cdf(faults, records, wrong, n), abs=1e-9
    )


@given(st.integers(1, 120), st.data())
@settings(max_examples=60, deadline=None)
def test_the_finite_bound_is_the_largest_number_that_is_not_too_unlikely(records, data):
    n = data.draw(st.integers(0, records))
    faults = data.draw(st.integers(0, n))

    bound = finite_bound(faults, n, records)

    assert faults <= bound <= records - (n - faults)
    likely = [
        d
        for d in range(faults, records - (n - faults) + 1)
        if stats.hypergeom.cdf(faults, records, d, n) > 0.05 + 1e-12
    ]
    assert bound == (max(likely) if likely else faults)


@pytest.mark.parametrize("records", [1, 7, 40])
def test_the_finite_bound_holds_whatever_the_truth(records):
    """All possible truths and samples, with their exact chances."""
    for n in range(records + 1):
        bounds = [finite_bound(faults, n, records) for faults in range(n + 1)]
        for wrong in range(records + 1):
            chances = stats.hypergeom.pmf(range(n + 1), records, wrong, n)
            assert sum(c for c, bound in zip(chances, bounds, strict=True) if bound >= wrong) >= 0.95 - 1e-9


@pytest.mark.parametrize("records", [7, 30, 60])
def test_the_binomial_bound_holds_for_a_sample_without_putting_back(records):
    """Hoeffding (1956): unless nearly everything is wrong, so few faults are never likelier than with putting back."""
    for n in range(1, records + 1):
        bounds = [highest_rate(faults, n) for faults in range(n + 1)]
        for wrong in range(records + 1):
            chances = stats.hypergeom.pmf(range(n + 1), records, wrong, n)
            missed = sum(
                c
                for faults, (c, bound) in enumerate(zip(chances, bounds, strict=True))
                if bound < wrong / records and n * bound >= faults + 1
            )
            assert missed <= 0.05 + 1e-9


@given(st.sampled_from([0.005, 0.01, 0.05, 0.2]), st.integers(20, 3000), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_the_finite_sample_is_the_smallest_and_never_larger(rate, records, accept):
    wrong = math.ceil(rate * records - 1e-9)
    if accept >= wrong:
        with pytest.raises(ValueError, match="accepted"):
            finite_sample_size(rate, records, accept=accept)
        return

    n = finite_sample_size(rate, records, accept=accept)

    assert stats.hypergeom.cdf(accept, records, wrong, n) <= 0.05 + 1e-9
    assert stats.hypergeom.cdf(accept, records, wrong, n - 1) > 0.05 - 1e-9
    assert finite_bound(accept, n, records) < wrong
    assert n <= min(records, sample_size(rate, accept=accept))


def test_a_large_set_needs_what_the_table_says():
    assert finite_sample_size(0.01, 10**7) in (298, 299)
    assert finite_sample_size(0.01, 1000) == 258


# --- strata


@st.composite
def strata(draw):
    found = []
    for n in range(draw(st.integers(1, 5))):
        records = draw(st.integers(1, 500))
        drawn = draw(st.integers(0, records))
        found.append(Stratum(f"s{n}", records, drawn, draw(st.integers(0, drawn))))
    return found


@given(strata(), st.booleans())
@settings(deadline=None)
def test_the_stratified_bound_is_above_what_was_found_and_at_most_1(found, finite):
    records = sum(s.records for s in found)

    bound = stratified_bound(found, finite=finite)

    assert sum(s.faults for s in found) / records <= bound <= 1


def test_one_stratum_is_a_simple_sample():
    assert stratified_bound([Stratum("all", 1000, 258, 0)]) == finite_bound(0, 258, 1000) / 1000
    assert stratified_bound([Stratum("all", 1000, 299, 0)], finite=False) == pytest.approx(highest_rate(0, 299))


def test_a_stratum_read_whole_takes_no_risk_and_one_not_read_counts_as_wrong():
    sampled, whole, unread = Stratum("a", 1000, 258, 0), Stratum("b", 50, 50, 2), Stratum("c", 50, 0, 0)

    assert stratified_bound([sampled, whole]) == (finite_bound(0, 258, 1000) + 2) / 1050
    assert stratified_bound([whole, unread]) == 52 / 100


def test_strata_of_equal_care_cost_more_than_a_simple_sample():
    split = [Stratum(name, 5000, 300, 0) for name in "ab"]

    assert (
        highest_rate(0, 600)
        < stratified_bound(split, finite=False)
        == pytest.approx(highest_rate(0, 300, confidence=0.975))
    )


@pytest.mark.parametrize("bad", [(10, 11, 0), (10, 5, 6), (10, 5, -1)])
def test_counts_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="cannot be"):
        Stratum("x", *bad)


def test_no_records_have_no_bound():
    with pytest.raises(ValueError, match="no records"):
        stratified_bound([])


# --- what reviewers miss


def test_a_fifth_missed_turns_1_into_1_25_percent():
    assert corrected_rate(0.01, 0.2) == pytest.approx(0.0125)
    assert corrected_rate(0.01, 1) == corrected_rate(0.9, 0.5) == 1


@given(st.integers(0, 20), st.integers(20, 2000), st.integers(0, 50), st.integers(0, 200))
@settings(deadline=None)
def test_the_corrected_bound_carries_both_uncertainties(faults, n, missed, more):
    misses = Misses(missed, missed + more)

    bound = corrected_bound(faults, n, misses)

    assert bound >= corrected_rate(highest_rate(faults, n), misses.rate) - 1e-12
    sample, miss = (
        stats.binomtest(k, m, alternative="less").proportion_ci(0.975, method="exact").high if m else 1
        for k, m in ((faults, n), (missed, missed + more))
    )
    assert bound == pytest.approx(min(1, sample / (1 - miss)) if miss < 1 else 1, rel=1e-6)


def test_the_better_known_the_miss_rate_the_fewer_records():
    sizes = [corrected_sample_size(0.01, Misses(k, 5 * k)) for k in (2, 20, 200, 20_000)]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == pytest.approx(sample_size(0.008, confidence=0.975), rel=0.01)
    for n, k in ((sizes[0], 2), (sizes[1], 20)):
        assert corrected_bound(0, n, Misses(k, 5 * k)) <= 0.01 < corrected_bound(0, n - 1, Misses(k, 5 * k))


def test_a_miss_rate_that_says_nothing_gives_no_plan():
    with pytest.raises(ValueError, match="known faults"):
        corrected_sample_size(0.01, Misses(0, 0))
    with pytest.raises(ValueError, match="missed"):
        Misses(3, 2)


# --- judging until it is decided


TEST = Sprt(0.0025, 0.01)


def test_the_lines_are_walds_but_for_what_makes_them_hold():
    slope = math.log(0.9975 / 0.99) / math.log(0.01 * 0.9975 / (0.0025 * 0.99))

    assert TEST.slope == pytest.approx(slope)
    assert TEST.below == TEST.above == pytest.approx(math.log(20) / math.log(0.01 * 0.9975 / (0.0025 * 0.99)))
    assert 0.0025 < TEST.slope < 0.01


@given(st.lists(st.booleans(), max_size=200), st.sampled_from([Sprt(0.01, 0.1), Sprt(0.05, 0.3, 0.1, 0.02), TEST]))
@settings(deadline=None)
@pytest.mark.slow
def test_a_decision_is_the_first_crossing_of_the_likelihood_ratio(judgments, test):
    ratio, decided, at = 0.0, "open", len(judgments)
    for n, wrong in enumerate(judgments, start=1):
        ratio += math.log(test.bad / test.good) if wrong else math.log((1 - test.bad) / (1 - test.good))
        if ratio <= math.log(test.beta) or ratio >= -math.log(test.alpha):
            decided, at = ("accept" if ratio < 0 else "reject"), n
            break

    found = test.follow(judgments)

    assert (found.decision, found.judged, found.faults) == (decided, at, sum(judgments[:at]))
    if decided == "open":
        assert found.accept_at < found.faults < found.reject_at
        assert test.follow([*judgments, *[False] * found.to_accept]).decision == "accept"
        assert test.follow([*judgments, *[False] * (found.to_accept - 1)]).decision == "open"


def test_the_shortest_way_to_a_decision():
    assert TEST.follow([False] * TEST.fewest).decision == "accept"
    assert TEST.follow([False] * (TEST.fewest - 1)).decision == "open"
    assert TEST.follow([]).to_accept == TEST.fewest
    assert TEST.follow([True] * 9).judged == 3


@pytest.mark.parametrize(
    "wrong", [(0.02, 0.01), (0.01, 0.01), (0, 0.1), (0.1, 1), (0.01, 0.02, 0), (0.01, 0.02, 0.05, 0.6)]
)
def test_a_test_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="between"):
        Sprt(*wrong)


def outcome(
    test: Sprt, rate: float | None = None, *, wrong: int = 0, records: int = 0, steps: int
) -> tuple[float, float, float]:
    """Exact chances of (accept, reject) within `steps`, and the mean length; without putting back where `records` is given."""
    chances, accepted, rejected, length = {0: 1.0}, 0.0, 0.0, 0.0
    for n in range(steps):
        after: dict[int, float] = {}
        for faults, chance in chances.items():
            p = rate if rate is not None else (wrong - faults) / (records - n)
            for added, share in ((1, p), (0, 1 - p)):
                after[faults + added] = after.get(faults + added, 0.0) + chance * share
        low, high = test.accept_at(n + 1), test.reject_at(n + 1)
        done = {f: c for f, c in after.items() if f <= low or f >= high}
        accepted += sum(c for f, c in done.items() if f <= low)
        rejected += sum(c for f, c in done.items() if f >= high)
        length += (n + 1) * sum(done.values())
        chances = {f: c for f, c in after.items() if f not in done}
    return accepted, rejected, length


@pytest.mark.parametrize("test", [Sprt(0.01, 0.05), Sprt(0.02, 0.08, 0.1, 0.05), Sprt(0.05, 0.2, 0.01, 0.1)])
@pytest.mark.slow
def test_the_risks_of_the_sequential_test_are_kept(test):
    good, bad = outcome(test, test.good, steps=2000), outcome(test, test.bad, steps=2000)

    assert good[0] + good[1] == pytest.approx(1, abs=1e-3)
    assert good[1] <= test.alpha
    assert bad[0] <= test.beta
    assert bad[0] > test.beta / 2
    assert good[2] == pytest.approx(test.expected_records(test.good), rel=0.25)
    assert bad[2] == pytest.approx(test.expected_records(test.bad), rel=0.35)


@pytest.mark.parametrize("records", [100, 400, 2000])
def test_the_risk_is_kept_without_putting_back(records):
    test = Sprt(0.01, 0.05)

    accepted, _, _ = outcome(test, wrong=math.ceil(0.05 * records), records=records, steps=records)

    assert accepted <= test.beta


# --- drawing


@given(st.integers(0, 300), st.data(), st.text(max_size=5))
@settings(deadline=None)
def test_a_draw_can_be_made_again_and_made_longer(records, data, seed):
    size = data.draw(st.integers(0, records))

    drawn = draw_sample(records, size, seed=seed)

    assert len(set(drawn)) == size
    assert all(0 <= n < records for n in drawn)
    assert draw_sample(records, records, seed=seed)[:size] == drawn
    assert drawn == sorted(range(records), key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).digest())[:size]


@pytest.mark.slow
def test_every_record_has_the_same_chance():
    counts = np.zeros(50)
    for seed in range(2000):
        counts[draw_sample(50, 10, seed=str(seed))] += 1

    assert stats.chisquare(counts).pvalue > 0.001


def test_more_than_there_is_cannot_be_drawn():
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw_sample(3, 4, seed="x")


# --- what may be said


def test_a_claim_that_holds():
    claim = claim_from_sample([Stratum("all", 370_000, 299, 0)], target=0.01, planned=299, reviewers=2)

    assert claim.holds
    assert claim.bound == pytest.approx(0.00997, abs=1e-5)
    assert claim.sentence == (
        "At most 1 % of records are wrong, with 95 % confidence, as judged by 2 reviewers (0 of 299 records drawn at random "
        "were found wrong; what the reviewers overlook was not measured)."
    )


def test_a_claim_that_does_not_hold_says_what_does():
    claim = claim_from_sample([Stratum("all", 370_000, 299, 1)], target=0.01, planned=299, reviewers=1)

    assert not claim.holds
    assert claim.sentence.startswith(
        "It is not shown that at most 1 % of records are wrong. What the sample shows: at most 1.6 % of records are wrong, "
        "with 95 % confidence, as judged by 1 reviewer ("
    )


def test_misses_are_named_and_can_undo_a_claim():
    sample = [Stratum("all", 370_000, 299, 0)]

    claim = claim_from_sample(sample, target=0.01, planned=299, reviewers=2, misses=Misses(4, 20))

    assert not claim.holds
    assert claim.bound == pytest.approx(corrected_bound(0, 299, Misses(4, 20)))
    assert (
        "adjusted for a measured miss rate of 20 % (4 of 20 known faults; 95 % interval 5.7 % to 44 %), taken as at most 44 %"
        in claim.sentence
    )
    assert claim_from_sample(sample, target=0.01, planned=299, reviewers=2, misses=Misses(0, 0)).bound == 1


@pytest.mark.parametrize(("planned", "said"), [(300, "only 299 of the 300"), (298, "needs a fresh plan")])
def test_a_sample_other_than_planned_shows_nothing(planned, said):
    claim = claim_from_sample([Stratum("all", 370_000, 299, 0)], target=0.01, planned=planned, reviewers=2)

    assert (claim.holds, claim.bound) == (False, None)
    assert said in claim.sentence


def test_strata_and_finite_sets():
    parts = [Stratum("easy", 600, 300, 0), Stratum("hard", 400, 300, 1)]

    claim = claim_from_sample(parts, target=0.05, planned=600, reviewers=3, finite=True)

    assert claim.bound == stratified_bound(parts)
    assert "1 of 600 records drawn at random were found wrong, from 2 strata" in claim.sentence
    with pytest.raises(ValueError, match="binomial"):
        claim_from_sample(parts, target=0.05, planned=600, reviewers=3, finite=True, misses=Misses(0, 9))


def test_what_a_sequential_test_allows_to_say():
    said = {
        state: claim_from_sequence(TEST, TEST.follow(judged), reviewers=2)
        for state, judged in {"accept": [False] * 500, "open": [False] * 100, "reject": [True] * 5}.items()
    }

    assert [c.holds for c in said.values()] == [True, False, False]
    assert said["accept"].sentence.startswith(
        "At most 1 % of records are wrong, with 95 % confidence, as judged by 2 reviewers (0 of 397"
    )
    assert f"{TEST.fewest - 100} more without a fault would settle it" in said["open"].sentence
    assert "fresh sample" in said["reject"].sentence


def test_a_sequential_claim_with_misses_needs_risk_for_them():
    half = Sprt(0.0025, 0.01, beta=0.025)

    claim = claim_from_sequence(half, half.follow([False] * 900), reviewers=2, misses=Misses(20, 100))

    assert claim.bound == pytest.approx(0.01 / (1 - highest_rate(20, 100, confidence=0.975)))
    assert claim.holds
    for test, misses in ((TEST, Misses(20, 100)), (Sprt(0.0025, 0.01, beta=0.1), None)):
        with pytest.raises(ValueError, match="smaller beta"):
            claim_from_sequence(test, test.follow([]), reviewers=2, misses=misses)


@given(st.floats(1e-7, 1))
@settings(deadline=None)
def test_a_percentage_is_never_said_lower_than_it_is(share):
    said = float(percent_up(share).removesuffix(" %"))

    assert 100 * share * (1 - 1e-9) <= said <= min(100 * share * 1.1 + 1e-6, 100)


def test_percentages_in_words():
    assert [percent_up(s) for s in (0, 0.00991, 0.0125, 0.0126, 0.5, 0.991, 1)] == [
        "0 %",
        "1 %",
        "1.3 %",
        "1.3 %",
        "50 %",
        "100 %",
        "100 %",
    ]
    assert all(float(percent_up(a)[:-2]) <= float(percent_up(b)[:-2]) for a, b in pairwise(n / 999 for n in range(999)))


# --- a simulated study


@pytest.mark.parametrize(
    ("wrong", "n"), [(0.002, 299), (0.00997, 299), (0.0101, 473), (0.02, 149), (0.05, 124), (0.3, 59)]
)
def test_the_stated_confidence_holds(wrong, n):
    """10,000 studies of a set of 20,000 records of which this share is wrong: the bound lies below it in 5 % at most."""
    rng = np.random.default_rng(20_261_125)
    records, faulty = 20_000, round(20_000 * wrong)
    faults = rng.hypergeometric(faulty, records - faulty, n, REPETITIONS)
    exact = cache(lambda k: finite_bound(k, n, records) / records)

    for bound in (cache(lambda k: highest_rate(k, n)), exact):
        held = np.mean([bound(int(k)) >= faulty / records for k in faults])
        assert held >= 0.95 - SLACK


@pytest.mark.parametrize(("wrong", "miss_rate"), [(0.0125, 0.2), (0.03, 0.2), (0.05, 0.5), (0.02, 0.0)])
@pytest.mark.parametrize("known", [20, 200])
def test_the_stated_confidence_holds_though_reviewers_miss_faults(wrong, miss_rate, known):
    """The miss rate is measured on `known` faults, in each study anew."""
    rng = np.random.default_rng(7)
    records, n, faulty = 20_000, 400, round(20_000 * wrong)
    drawn = rng.hypergeometric(faulty, records - faulty, n, REPETITIONS)
    found = rng.binomial(drawn, 1 - miss_rate)
    missed = rng.binomial(known, miss_rate, REPETITIONS)
    bound = cache(lambda k, m: corrected_bound(k, n, Misses(m, known)))

    held = np.mean([bound(int(k), int(m)) >= wrong for k, m in zip(found, missed, strict=True)])

    assert held >= 0.95 - SLACK


def test_a_bound_that_ignores_the_misses_would_not_hold():
    """The simulation can tell: without the adjustment the confidence is lost."""
    rng = np.random.default_rng(7)
    found = rng.binomial(rng.hypergeometric(250, 19_750, 400, REPETITIONS), 0.5)

    assert np.mean([highest_rate(int(k), 400) >= 0.0125 for k in found]) < 0.9


@pytest.mark.slow
def test_the_stated_confidence_holds_for_strata():
    rng = np.random.default_rng(11)
    sizes, wrong, drawn = (12_000, 6_000, 2_000), (60, 180, 200), (150, 150, 150)
    draws = [rng.hypergeometric(w, s - w, n, REPETITIONS) for s, w, n in zip(sizes, wrong, drawn, strict=True)]
    bound = cache(
        lambda *faults: stratified_bound([Stratum("x", s, n, f) for s, n, f in zip(sizes, drawn, faults, strict=True)])
    )

    held = np.mean([bound(*map(int, faults)) >= sum(wrong) / sum(sizes) for faults in zip(*draws, strict=True)])

    assert held >= 0.95 - SLACK


@pytest.mark.slow
def test_a_sequential_study_accepts_a_bad_set_as_seldom_as_it_says():
    test, steps = Sprt(0.0025, 0.01), 3000
    rng = np.random.default_rng(3)
    n = np.arange(1, steps + 1)
    low, high = np.floor(test.slope * n - test.below), np.ceil(test.slope * n + test.above)
    accepted = rejected = 0
    for rate in (test.bad, test.good):
        faults = (rng.random((REPETITIONS, steps), dtype=np.float32) < rate).cumsum(axis=1, dtype=np.int16)
        first_low, first_high = ((faults <= low).argmax(axis=1), (faults >= high).argmax(axis=1))
        took, refused = (faults <= low).any(axis=1), (faults >= high).any(axis=1)
        if rate == test.bad:
            accepted = np.mean(took & (~refused | (first_low < first_high)))
        else:
            rejected = np.mean(refused & (~took | (first_high < first_low)))

    assert accepted <= test.beta + SLACK
    assert rejected <= test.alpha + SLACK
