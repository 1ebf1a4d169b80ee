"""Plans of certificates: their sizes, what is refused, and that what they state holds in simulated studies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from apps.exports.certificate.bounds import Misses
from apps.exports.certificate.plan import (
    MOST,
    CertificatePlan,
    CertificatePlanError,
    longest,
    parse_certificate_plan,
    settle_plan,
    sizes_of,
)
from apps.exports.certificate.sequential import Sprt
from apps.exports.certificate.standing import weigh
from apps.exports.certificate.study import REPETITIONS, Case, cases, simulate, table, whole
from apps.exports.certificate.words import plan_words
from apps.exports.management.commands.certificate_study import BEGIN, END
from reasonmed_verify.bounds import highest_rate
from reasonmed_verify.drawing import draw_sample, draw_strata

MANY = {"all": 370_000}
SLACK = 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)  # three standard errors of a simulated 5 %


def size(plan: dict, records=MANY, misses: Misses | None = None) -> int:
    made = settle_plan(parse_certificate_plan(plan), records, misses=misses)
    return sum(sizes_of(made, records, misses=misses).values())


@pytest.mark.parametrize(
    ("rate", "sizes"),
    [(0.005, (598, 947, 1258, 2100)), (0.01, (299, 473, 628, 1049)), (0.02, (149, 236, 313, 523)), (0.05, (59, 93, 124, 208))],
)  # fmt: skip
def test_the_sizes_are_those_of_the_table_and_of_scipy(rate, sizes):
    for accept, expected in zip((0, 1, 2, 5), sizes, strict=True):
        assert size({"rate": rate, "accept": accept}) == expected
        assert stats.binom.cdf(accept, expected, rate) <= 0.05 < stats.binom.cdf(accept, expected - 1, rate)


def test_few_records_take_fewer_and_none_too_many():
    assert size({"rate": 0.01}, {"all": 250}) < 250
    found = size({"rate": 0.01, "finite": True}, {"all": 1000})
    assert found == 258
    assert stats.hypergeom.cdf(0, 1000, 10, found) <= 0.05 < stats.hypergeom.cdf(0, 1000, 10, found - 1)


def test_strata_share_the_risk_and_a_small_one_is_read_whole():
    records = {"easy": 200_000, "medium": 150_000, "difficult": 9}
    plan = settle_plan(parse_certificate_plan({"kind": "stratified", "by": "tier", "rate": 0.05}), records, misses=None)

    sizes = sizes_of(plan, records, misses=None)

    assert sizes["difficult"] == 9
    assert stats.binom.cdf(0, sizes["easy"], 0.05) <= 0.05 / 3 * 1.01
    assert plan.finite


def test_with_misses_the_sample_grows_and_is_binomial():
    assert size({"misses": "gold"}, misses=Misses(4, 20)) == 653
    assert size({"misses": "gold"}, misses=Misses(20, 100)) == 520
    plan = parse_certificate_plan({"misses": "gold", "finite": True})
    assert not settle_plan(plan, {"all": 100}, misses=Misses(4, 20)).finite


def test_a_sequential_test_has_an_end_and_leaves_risk_for_misses():
    plain = parse_certificate_plan({"kind": "sequential", "good": 0.0025})
    missing = parse_certificate_plan({"kind": "sequential", "good": 0.0025, "misses": "gold"})

    assert (plain.beta_used, missing.beta_used) == (pytest.approx(0.05), pytest.approx(0.025))
    assert plain.sprt.fewest == 397 < sizes_of(plain, MANY, misses=None)["all"] == longest(plain.sprt)
    assert longest(Sprt(0.0009, 0.001)) == MOST


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"rate": 0.5}, "rate"),
        ({"kind": "stratified"}, "by"),
        ({"by": "tier"}, "by"),
        ({"kind": "sequential"}, "good"),
        ({"kind": "sequential", "good": 0.02}, "good"),
        ({"kind": "sequential", "good": 0.001, "beta": 0.2}, "beta"),
        ({"kind": "sequential", "good": 0.001, "beta": 0.05, "misses": "gold"}, "beta"),
        ({"misses": "entered", "known": 10, "missed": 2}, "source"),
        ({"misses": "entered", "known": 1, "missed": 2, "source": "x"}, "source"),
        ({"kind": "guess"}, "kind"),
        ({"seed": "mine"}, "seed"),
        ({"overlap": 0}, "overlap"),
    ],
)
def test_a_plan_that_makes_no_sense_names_its_field(plan, field):
    with pytest.raises(CertificatePlanError) as caught:
        parse_certificate_plan(plan)
    assert caught.value.field == field


def test_more_than_people_can_read_is_refused():
    records = {f"s{n}": 100_000 for n in range(9)}
    with pytest.raises(CertificatePlanError, match="This takes"):
        size({"kind": "stratified", "by": "benchmark", "rate": 0.002, "accept": 3}, records)


def test_strata_weigh_and_a_faulty_one_makes_it_hopeless():
    plan = CertificatePlan(kind="stratified", by="tier", rate=0.2, confidence=0.5, finite=True)
    said = [("easy", "right"), ("hard", "wrong"), ("easy", "right"), ("hard", "")]

    found = weigh(plan, said, sizes={"easy": (90, 2), "hard": (10, 2)}, reviewers=1, misses=None)

    assert (found.judged, found.faults, found.hopeless, found.decided) == (3, 1, True, False)
    assert "only 3 of the 4 records planned are judged" in found.claim.sentence
    rest = weigh(plan, [("easy", "right"), ("hard", "wrong")], sizes={"easy": (100, 1), "hard": (1, 1)}, reviewers=1, misses=None)  # fmt: skip
    assert rest.hopeless == (not rest.claim.holds)


def test_a_fault_in_a_small_stratum_read_whole_is_not_the_end():
    plan = CertificatePlan(kind="stratified", by="tier", rate=0.2, confidence=0.5, finite=True)
    said = [("small", "wrong"), *[("large", "right")] * 20, ("large", "")]

    found = weigh(plan, said, sizes={"large": (1000, 21), "small": (1, 1)}, reviewers=1, misses=None)

    assert not found.hopeless


def test_plans_in_words():
    assert plan_words(CertificatePlan(), 299) == (
        "Shows that at most 1 % of records are wrong, with 95 % confidence, if none of the 299 records drawn is."
    )
    assert "p0 = 0.25 %, p1 = 1 %, α = 5 %, β = 5 %" in plan_words(
        CertificatePlan(kind="sequential", good=0.0025), 1991
    )


# --- what reasonmed-verify works out by itself


@pytest.mark.parametrize(("faults", "n"), [(0, 299), (1, 299), (5, 1049), (20, 59), (59, 59), (0, 1)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.975])
def test_the_bound_that_verify_works_out_is_the_reference(faults, n, confidence):
    reference = stats.binomtest(faults, n, alternative="less").proportion_ci(confidence, method="exact").high

    assert highest_rate(faults, n, confidence) == pytest.approx(reference, rel=1e-7)
    assert proportion_confint(faults, n, alpha=2 * (1 - confidence), method="beta")[1] == pytest.approx(reference)


def test_strata_are_drawn_as_if_each_were_alone():
    strata = ["a" if n % 3 else "b" for n in range(60)]
    alone = [n for n in draw_sample(60, 60, seed="s") if strata[n] == "b"]

    drawn = draw_strata(strata, {"a": 5, "b": 4}, seed="s")

    assert [n for n in drawn if strata[n] == "b"] == alone[:4]
    assert drawn == [n for n in draw_sample(60, 60, seed="s") if n in drawn]
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw_strata(strata, {"b": 21}, seed="s")


# --- simulated studies


def test_a_study_can_tell(monkeypatch):
    """Were misses left out of the bound, far more than 5 % of certificates would say less than is true."""
    case = Case("ignored", CertificatePlan(), whole(0.0125), miss_rate=0.5)

    assert simulate(case, repetitions=2_000).untrue > 0.1


@pytest.mark.slow
def test_the_stated_confidence_holds_in_ten_thousand_studies_of_each_kind():
    found = [(case, simulate(case)) for case in cases()]

    kinds = {(case.plan.kind, case.known > 0) for case, _ in found}
    assert kinds >= {("acceptance", False), ("acceptance", True), ("sequential", False), ("sequential", True), ("stratified", False)}  # fmt: skip
    for case, outcome in found:
        assert outcome.untrue <= 0.05 + SLACK, case.words
        if case.truth >= case.plan.rate and not case.known:
            assert outcome.certified <= 0.05 + SLACK, case.words
    rates = {case.truth: outcome for case, outcome in found if case.words == "1 %, no fault accepted"}
    for truth, outcome in rates.items():  # as the binomial distribution says
        assert outcome.certified == pytest.approx((1 - truth) ** 299, abs=0.02)
    text = (Path(settings.BASE_DIR) / "docs" / "certificate.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table(found)


def test_the_sequential_study_is_that_of_the_test_itself():
    """Drawn one by one and followed by `Sprt.follow`, on few studies."""
    plan = CertificatePlan(kind="sequential", good=0.02, rate=0.1)
    rng, test, steps = np.random.default_rng(5), plan.sprt, longest(plan.sprt)
    ends = []
    for _ in range(400):
        wrong = set(rng.choice(2000, 200, replace=False).tolist())
        order = rng.permutation(2000)[:steps]
        ends.append(test.follow(int(n) in wrong for n in order))

    found = simulate(Case("x", plan, whole(0.1, 2000)), repetitions=4_000)

    assert found.certified == pytest.approx(np.mean([end.decision == "accept" for end in ends]), abs=0.03)
    assert found.records == pytest.approx(np.mean([end.judged for end in ends]), rel=0.15)
