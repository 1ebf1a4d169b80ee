"""Plans of certificates: what is to be shown, how many records it takes, when it is decided. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from apps.exports.certificate.bounds import Misses, corrected_sample_size, finite_sample_size
from apps.exports.certificate.sequential import Sprt
from apps.review.statistics.acceptance import sample_size
from apps.review.statistics.intervals import CONFIDENCE

Kind = Literal["acceptance", "sequential", "stratified"]
Trait = Literal["benchmark", "tier"]
Rule = Literal["any", "majority"]
MissSource = Literal["none", "gold", "entered", "mixed"]
WHOLE = "all"  # the stratum of a plan without strata
MOST_PLANTED = 1_000
MOST = 20_000  # records of a sample: more than people will ever read
_Share = Annotated[float, Field(gt=0, lt=1)]
_Count = Annotated[int, Field(ge=0, le=1_000_000)]


class CertificatePlanError(ValueError):
    """A plan that cannot be used, in words; `field` names what of it."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class CertificatePlan(BaseModel):
    """`rate`: what is to be shown (p, for the sequential test p1). `accept`: faults that still show it, in each stratum.

    `good` (p0), `alpha`, `beta` are of the sequential test. `finite`: exact for drawing without putting back, taken by
    itself where the binomial sample is not smaller than the set. `misses`: whether what reviewers overlook is counted,
    and from where; it is fixed with the plan, so that nobody leaves it out for what it shows. Mixed: `known` faults are put
    among the records, and the sample is so large that it shows what is planned if no more than `missed` of them are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "acceptance"
    rate: Annotated[float, Field(ge=0.001, le=0.2)] = 0.01
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = CONFIDENCE
    accept: Annotated[int, Field(ge=0, le=100)] = 0
    good: _Share | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    beta: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    by: Trait | None = None
    finite: bool = False
    overlap: Annotated[int, Field(ge=1, le=9)] = 1
    rule: Rule = "any"
    misses: MissSource = "none"
    missed: _Count = 0
    known: _Count = 0
    source: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="after")
    def check_kind(self) -> CertificatePlan:
        if (self.kind == "stratified") != (self.by is not None):
            raise ValueError("by: name what to stratify by (benchmark or tier), for kind stratified alone")
        if (self.kind == "sequential") != (self.good is not None):
            raise ValueError("good: name the share that is good (p0), for kind sequential alone")
        if self.good is not None and self.good >= self.rate:
            raise ValueError("good: the good share (p0) lies below the bad one (p1)")
        if self.misses == "entered" and not (0 <= self.missed <= self.known and self.known and self.source.strip()):
            raise ValueError("source: enter how many known faults were shown, how many of them missed, and where")
        if self.misses == "mixed" and not (0 <= self.missed < self.known <= MOST_PLANTED):
            raise ValueError(f"known: say how many known faults are mixed in, 1 to {MOST_PLANTED:,}, and fewer to miss")
        if self.kind == "sequential" and self.risk_left < (1e-9 if self.misses != "none" else -1e-9):
            raise ValueError(
                "beta: leaves no risk for the confidence asked for, and for the miss rate; make it smaller"
            )
        return self

    @property
    def sprt(self) -> Sprt:
        assert self.good is not None
        return Sprt(self.good, self.rate, self.alpha, self.beta_used)

    @property
    def beta_used(self) -> float:
        """What is asked for, else all of the risk; half of it where the miss rate needs the other half."""
        if self.beta is not None:
            return self.beta
        return (1 - self.confidence) / (1 if self.misses == "none" else 2)

    @property
    def risk_left(self) -> float:
        return 1 - self.confidence - self.beta_used

    @property
    def planted(self) -> int:
        """Known faults to be mixed among the records."""
        return self.known if self.misses == "mixed" else 0

    @property
    def entered(self) -> tuple[int, int]:
        """(missed, known)"""
        return self.missed, self.known

    @property
    def spread(self) -> float:
        """How much oftener the reviewers together may miss a fault than one of them does, at most (Markov).

        A fault is missed where enough of them miss it: all (rule any), or more than half (majority).
        """
        if self.misses == "mixed":
            return 1.0  # measured on all who judge a record, together
        needed = self.overlap if self.rule == "any" else self.overlap // 2 + 1
        return self.overlap / needed

    def wrong(self, said: int) -> bool:
        """Whether a record counts as wrong of which `said` of its reviewers say so. A tie counts as wrong."""
        return said > 0 if self.rule == "any" else 2 * said >= self.overlap


def parse_certificate_plan(data: Mapping[str, Any]) -> CertificatePlan:
    """Raises CertificatePlanError for the first problem."""
    try:
        return CertificatePlan.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        said = str(first["msg"]).removeprefix("Value error, ")
        place = str(first["loc"][0]) if first["loc"] else ""
        if not place and ": " in said:
            place, _, said = said.partition(": ")
        raise CertificatePlanError(f"{said[:1].upper()}{said[1:]}.", field=place) from error


def settle_plan(plan: CertificatePlan, strata: Mapping[str, int], *, misses: Misses | None) -> CertificatePlan:
    """The plan with `finite` as these records ask for it. With misses, bounds are binomial."""
    if misses is not None or plan.kind == "sequential":
        return plan.model_copy(update={"finite": False})
    few = any(_binomial_size(plan, len(strata), None) >= records for records in strata.values())
    return plan.model_copy(update={"finite": plan.finite or few})


def sizes_of(plan: CertificatePlan, strata: Mapping[str, int], *, misses: Misses | None) -> dict[str, int]:
    """How many records of each stratum are drawn; for the sequential test, the most it may take.

    Raises CertificatePlanError where no sample of these records can show it.
    """
    try:
        found = {name: min(_size(plan, len(strata), records, misses), records) for name, records in strata.items()}
    except ValueError as error:
        field = "misses" if "miss rate" in str(error) else "good" if plan.kind == "sequential" else "accept"
        raise CertificatePlanError(str(error), field=field) from error
    if (total := sum(found.values())) > MOST:
        raise CertificatePlanError(
            f"This takes {total:,} records, more than {MOST:,}: ask for less, or for fewer strata.", field="rate"
        )
    return found


def _size(plan: CertificatePlan, strata: int, records: int, misses: Misses | None) -> int:
    if plan.kind == "sequential":
        if records < plan.sprt.fewest:
            raise ValueError(f"The test takes at least {plan.sprt.fewest:,} records; there are {records:,}.")
        return longest(plan.sprt)
    if misses is None and plan.finite:
        return _finite_size(plan, strata, records)
    return _binomial_size(plan, strata, misses)


def longest(test: Sprt) -> int:
    """Where an undecided test ends: three times what it takes on average at its slower end, never less than the shortest way.

    An end without a decision claims nothing, so this costs no confidence.
    """
    return min(MOST, max(test.fewest, math.ceil(3 * max(map(test.expected_records, (test.good, test.bad))))))


def _binomial_size(plan: CertificatePlan, strata: int, misses: Misses | None) -> int:
    risk = 1 - plan.confidence
    if misses is None:
        return sample_size(plan.rate, accept=plan.accept, confidence=1 - risk / strata)
    if strata == 1:
        return corrected_sample_size(plan.rate, misses, accept=plan.accept, confidence=plan.confidence)
    found = 1 - misses.highest(1 - risk / 2)
    if found <= 0:
        raise ValueError("The miss rate is not known well enough: show the reviewers more known faults.")
    return sample_size(plan.rate * found, accept=plan.accept, confidence=1 - risk / 2 / strata)


def _finite_size(plan: CertificatePlan, strata: int, records: int) -> int:
    """All records of a stratum that is too small for the faults accepted: read whole, it takes no risk."""
    confidence = 1 - (1 - plan.confidence) / strata
    if plan.accept >= math.ceil(plan.rate * records - 1e-9):
        if strata == 1:
            raise ValueError(
                f"{plan.accept} accepted faults cannot show that fewer than {plan.rate:.3%} of {records} are wrong."
            )
        return records
    return finite_sample_size(plan.rate, records, accept=plan.accept, confidence=confidence)
