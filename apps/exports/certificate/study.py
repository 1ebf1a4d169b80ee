"""Simulated studies: how often a certificate says less than is true. Pure; draws many studies at once and asks the functions
that certificates are made with what they would have said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from apps.exports.certificate.bounds import Misses, Stratum
from apps.exports.certificate.claim import claim_from_sample, claim_from_sequence
from apps.exports.certificate.plan import WHOLE, CertificatePlan, settle_plan, sizes_of
from apps.exports.certificate.sequential import Progress
from apps.review.statistics.intervals import binomial_cdf

REPETITIONS = 10_000
SEED = 20_261_126
RECORDS = 20_000
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Case:
    """`wrong`: {stratum: (records, how many are wrong)}. `miss_rate`: of each reviewer, measured on `known` faults.

    `together`: where several judge a record, they overlook the same faults, as unluckily as their miss rate allows.
    """

    words: str
    plan: CertificatePlan
    wrong: Mapping[str, tuple[int, int]]
    miss_rate: float = 0.0
    known: int = 0
    together: bool = False

    @property
    def truth(self) -> float:
        return sum(wrong for _, wrong in self.wrong.values()) / sum(records for records, _ in self.wrong.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of all studies: `certified`: said that the target is met; `untrue`: named a bound below the truth."""

    certified: float
    untrue: float
    records: float  # judged on average


def simulate(case: Case, *, repetitions: int = REPETITIONS, seed: int = SEED) -> Outcome:
    rng = np.random.default_rng(seed)
    strata = {name: records for name, (records, _) in case.wrong.items()}
    expected = case.plan.missed if case.plan.planted else round(case.miss_rate * case.known)
    misses = Misses(expected, case.known, case.plan.spread) if case.known else None
    plan = settle_plan(case.plan, strata, misses=misses)
    sizes = sizes_of(plan, strata, misses=misses)
    overlooked = _missed_by_all(case) if case.plan.planted else case.miss_rate  # mixed in, all judge each one together
    measured = rng.binomial(case.known, overlooked, repetitions)
    if plan.kind == "sequential":
        return _sequences(case, plan, sizes[WHOLE], measured, rng)
    return _samples(case, plan, sizes, measured, rng)


def _samples(
    case: Case, plan: CertificatePlan, sizes: Mapping[str, int], measured: Integers, rng: np.random.Generator
) -> Outcome:
    drawn = [
        rng.hypergeometric(wrong, records - wrong, sizes[name], len(measured))
        for name, (records, wrong) in case.wrong.items()
    ]
    found = [rng.binomial(faults, 1 - _missed_by_all(case)) for faults in drawn]

    @cache
    def said(missed: int, *faults: int) -> tuple[bool, float]:
        claim = claim_from_sample(
            [
                Stratum(name, records, sizes[name], n)
                for (name, (records, _)), n in zip(case.wrong.items(), faults, strict=True)
            ],
            target=plan.rate,
            planned=sum(sizes.values()),
            reviewers=plan.overlap,
            misses=Misses(missed, case.known, plan.spread) if case.known else None,
            confidence=plan.confidence,
            finite=plan.finite,
        )
        assert claim.bound is not None  # all of the sample is judged
        return claim.holds, claim.bound

    claims = [said(*map(int, counts)) for counts in zip(measured, *found, strict=True)]
    return Outcome(
        certified=float(np.mean([holds for holds, _ in claims])),
        untrue=float(np.mean([bound < case.truth for _, bound in claims])),
        records=sum(sizes.values()),
    )


def _sequences(
    case: Case, plan: CertificatePlan, longest: int, measured: Integers, rng: np.random.Generator
) -> Outcome:
    """Without putting back: the chance of a wrong record follows what was drawn before."""
    ((records, wrong),) = case.wrong.values()
    test, found_of = plan.sprt, 1 - _missed_by_all(case)
    faulty = np.zeros(len(measured), dtype=np.int64)  # drawn so far, found or not
    faults = np.zeros(len(measured), dtype=np.int64)
    judged = np.zeros(len(measured), dtype=np.int64)
    decided = np.zeros(len(measured), dtype=np.int64)  # 1 accepted, −1 rejected
    for n in range(longest):
        going = np.flatnonzero(decided == 0)
        if not len(going):
            break
        hit = rng.random(len(going)) * (records - n) < wrong - faulty[going]
        faulty[going] += hit
        faults[going] += hit & (rng.random(len(going)) < found_of)
        judged[going] = n + 1
        decided[going] = np.where(
            faults[going] <= test.accept_at(n + 1), 1, np.where(faults[going] >= test.reject_at(n + 1), -1, 0)
        )

    @cache
    def bound(missed: int) -> float:
        accepted = Progress(longest, 0, "accept", 0, 0, 0)
        misses = Misses(missed, case.known, plan.spread) if case.known else None
        claim = claim_from_sequence(test, accepted, reviewers=1, misses=misses, confidence=plan.confidence)
        assert claim.bound is not None
        return claim.bound

    untrue = [bool(took == 1 and bound(int(m)) < case.truth) for took, m in zip(decided, measured, strict=True)]
    return Outcome(float(np.mean(decided == 1)), float(np.mean(untrue)), float(judged.mean()))


def _missed_by_all(case: Case) -> float:
    """The chance that a wrong record counts as right."""
    if case.plan.planted and not case.together:
        enough = next(said for said in range(1, case.plan.overlap + 1) if case.plan.wrong(said))
        return binomial_cdf(enough - 1, case.plan.overlap, 1 - case.miss_rate)
    if case.plan.overlap == 1 or not case.together:
        return case.miss_rate**case.plan.overlap if case.plan.rule == "any" else case.miss_rate
    return min(1.0, case.plan.spread * case.miss_rate)


def whole(share: float, records: int = RECORDS) -> dict[str, tuple[int, int]]:
    return {WHOLE: (records, round(records * share))}


def cases() -> list[Case]:
    """What the table in docs/certificate.md tells of."""
    one, test = CertificatePlan(), CertificatePlan(kind="sequential", good=0.0025)
    measured = CertificatePlan(misses="gold")
    mixed = CertificatePlan(misses="mixed", known=100, missed=20)
    of_three = CertificatePlan(misses="mixed", known=100, missed=20, overlap=3, rule="majority")
    strata = {"easy": (12_000, 348), "medium": (6_000, 300), "difficult": (2_000, 400)}
    return [
        *(Case("1 %, no fault accepted", one, whole(share)) for share in (0.0025, 0.0095, 0.0105, 0.02)),
        Case("0.5 %, 2 faults accepted", CertificatePlan(rate=0.005, accept=2), whole(0.0055)),
        Case("5 %, 5 faults accepted", CertificatePlan(rate=0.05, accept=5), whole(0.0505)),
        Case("2 % of 400, without putting back", CertificatePlan(rate=0.02, finite=True), whole(0.0225, 400)),
        Case("5 % by tier", CertificatePlan(kind="stratified", rate=0.05, by="tier"), strata),
        *(Case("sequential, 0.25 % against 1 %", test, whole(share)) for share in (0.0025, 0.005, 0.01, 0.0125)),
        Case("1 %, misses measured on 200", measured, whole(0.0125), 0.2, 200),
        Case("1 %, misses measured on 20", measured, whole(0.0125), 0.2, 20),
        Case(
            "sequential, misses measured on 200",
            CertificatePlan(kind="sequential", good=0.0025, misses="gold"),
            whole(0.0135),
            0.2,
            200,
        ),
        Case(
            "1 %, 3 people, the majority, missing the same",
            CertificatePlan(misses="gold", overlap=3, rule="majority"),
            whole(0.0125),
            0.2,
            200,
            together=True,
        ),
        Case("1 %, 100 known faults mixed in", mixed, whole(0.0025), 0.2, 100),
        Case("1 %, 100 known faults mixed in", mixed, whole(0.0105), 0.2, 100),
        Case("1 %, 100 known faults mixed in", mixed, whole(0.0125), 0.5, 100),
        Case("the same, 3 people, the majority", of_three, whole(0.0105), 0.2, 100),
        Case("the same, 3 people who miss the same", of_three, whole(0.0105), 0.2, 100, together=True),
        Case(
            "sequential, 100 known faults mixed in",
            CertificatePlan(kind="sequential", good=0.0025, misses="mixed", known=100, missed=20),
            whole(0.0135),
            0.2,
            100,
        ),
    ]


def table(rows: Iterable[tuple[Case, Outcome]]) -> str:
    """In Markdown, a line a case."""
    lines = [
        "| Plan, 95 % | Truly wrong | Overlooked | Certified | Said less than is true | Records judged |",
        "|---|---|---|---|---|---|",
    ]
    for case, found in rows:
        missed = f"{100 * case.miss_rate:.3g} %" if case.miss_rate else "–"
        cells = (case.words, f"{100 * case.truth:.3g} %", missed, f"{100 * found.certified:.1f} %")
        lines.append(f"| {' | '.join(cells)} | {100 * found.untrue:.1f} % | {found.records:,.0f} |")
    return "\n".join(lines)
