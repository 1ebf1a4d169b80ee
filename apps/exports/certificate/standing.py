"""Where a certification stands: what is judged, what was found, whether it is decided, and what could be said now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from apps.exports.certificate.bounds import Misses, Stratum
from apps.exports.certificate.claim import Claim, claim_from_sample, claim_from_sequence, percent_up
from apps.exports.certificate.misses import misses_of
from apps.exports.certificate.plan import CertificatePlan
from apps.exports.certificate.sequential import Progress
from apps.exports.models_certificate import Certification, Outcome, SampleJudgment
from apps.review.statistics.acceptance import highest_rate

Said = tuple[str, str]  # (stratum, outcome) of a record drawn


@dataclass(frozen=True, slots=True)
class Standing:
    """`judged`, `faults`: of records whose reviewers all spoke; for the sequential test, those up to the first gap or its
    decision, `ahead` being judged behind them. `bound`: the exact upper limit of what was judged, as if it had been planned so.

    `planted`: known faults among the records; `waiting`: those of them that are still to be judged.

    `decided`: no further record changes what is said. `hopeless`: it will not hold, though nothing more were found wrong.
    """

    size: int
    judged: int
    faults: int
    ahead: int
    planted: int
    waiting: int
    strata: list[Stratum]
    accept: int | None  # faults that the plan accepts in each stratum; none for the sequential test
    progress: Progress | None
    bound: float
    complete: bool
    decided: bool
    hopeless: bool
    claim: Claim

    @property
    def left(self) -> int:
        return self.size - self.judged + self.waiting

    @property
    def total(self) -> int:
        return self.size + self.planted

    @property
    def bound_words(self) -> str:
        return percent_up(self.bound)


def plan_of(study: Certification) -> CertificatePlan:
    return CertificatePlan.model_validate(study.plan)


def standing_of(study: Certification) -> Standing:
    """In three short reads, whatever the size of the export."""
    plan, misses = plan_of(study), misses_of(study)
    said: list[Said] = list(study.drawn.values_list("stratum", "outcome"))
    judged_by = SampleJudgment.objects.filter(record__certification=study, current=True, wrong__isnull=False)
    reviewers = judged_by.order_by().values("reviewer").distinct().count()
    return weigh(
        plan,
        said,
        sizes={name: (records, drawn) for name, records, drawn in study.strata},
        reviewers=reviewers,
        misses=misses,
        waiting=plan.planted - misses.known if plan.planted and misses else 0,
    )


def weigh(
    plan: CertificatePlan,
    said: Sequence[Said],
    *,
    sizes: dict[str, tuple[int, int]],
    reviewers: int,
    misses: Misses | None,
    waiting: int = 0,
) -> Standing:
    """`said` in the order drawn; `sizes`: (records, drawn) of each stratum; `waiting`: known faults not judged yet."""
    if plan.kind == "sequential":
        return _weigh_sequence(plan, [outcome for _, outcome in said], sizes, reviewers, misses, waiting)
    judged, faults = Counter[str](), Counter[str]()
    for stratum, outcome in said:
        judged[stratum] += bool(outcome)
        faults[stratum] += outcome == Outcome.WRONG
    done, found = judged.total(), faults.total()
    complete = done == len(said) and not waiting
    hoped = Misses(misses.missed, misses.known + waiting, misses.spread) if misses else None  # none of them missed
    strata = [Stratum(name, records, judged[name], faults[name]) for name, (records, _) in sizes.items()]
    best = [Stratum(name, records, drawn, faults[name]) for name, (records, drawn) in sizes.items()]  # no fault more
    claim, at_best = (
        claim_from_sample(
            counted,
            target=plan.rate,
            planned=len(said),
            reviewers=reviewers,
            misses=overlooked,
            confidence=plan.confidence,
            finite=plan.finite and misses is None,
        )
        for counted, overlooked in ((strata, misses), (best, hoped))
    )
    return Standing(
        size=len(said),
        judged=done,
        faults=found,
        ahead=0,
        planted=plan.planted,
        waiting=waiting,
        strata=strata,
        accept=plan.accept,
        progress=None,
        bound=highest_rate(found, done, confidence=plan.confidence),
        complete=complete,
        decided=complete,
        hopeless=not at_best.holds,
        claim=claim,
    )


def _weigh_sequence(
    plan: CertificatePlan,
    outcomes: Sequence[str],
    sizes: dict[str, tuple[int, int]],
    reviewers: int,
    misses: Misses | None,
    waiting: int,
) -> Standing:
    gap = next((n for n, outcome in enumerate(outcomes) if not outcome), len(outcomes))
    progress = plan.sprt.follow(outcome == Outcome.WRONG for outcome in outcomes[:gap])
    ((name, (records, _)),) = sizes.items()
    return Standing(
        size=len(outcomes),
        judged=progress.judged,
        faults=progress.faults,
        ahead=sum(map(bool, outcomes[gap:])),
        planted=plan.planted,
        waiting=waiting,
        strata=[Stratum(name, records, progress.judged, progress.faults)],
        accept=None,
        progress=progress,
        bound=highest_rate(progress.faults, progress.judged, confidence=plan.confidence),
        complete=gap == len(outcomes) and not waiting,
        decided=progress.decision == "reject"
        or (not waiting and (progress.decision == "accept" or gap == len(outcomes))),
        hopeless=progress.decision == "reject",
        claim=claim_from_sequence(plan.sprt, progress, reviewers=reviewers, misses=misses, confidence=plan.confidence),
    )
