"""A plan and its standing in words, and the picture of a sequential test."""

from __future__ import annotations

from dataclasses import dataclass

from apps.exports.certificate.opening import Forecast
from apps.exports.certificate.plan import CertificatePlan, Kind
from apps.exports.models_certificate import Certification, Outcome

KINDS: dict[Kind, tuple[str, str]] = {
    "acceptance": ("One sample", "its size is fixed before; all of it is judged"),
    "sequential": ("Until it is decided", "Wald’s test: stops as soon as the records are clearly good or bad"),
    "stratified": ("A sample of each stratum", "for every benchmark or tier, and so for all records"),
}
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 200, 4, 6  # of the picture, in its own units


def percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def plan_words(plan: CertificatePlan, size: int) -> str:
    """What it shows, and when."""
    sure = f"with {percent(plan.confidence)} confidence"
    shown = f"that at most {percent(plan.rate)} of records are wrong, {sure}"
    if plan.kind == "sequential":
        test = plan.sprt
        return (
            f"Shows {shown}, once the test accepts: p0 = {percent(test.good)}, p1 = {percent(test.bad)}, "
            f"α = {percent(test.alpha)}, β = {percent(test.beta)}. At least {test.fewest:,} records, at most {size:,}."
            + (" What reviewers overlook makes the figure in the certificate larger." if plan.misses != "none" else "")
        )
    few, are = (f"no more than {plan.accept:,}", "are") if plan.accept else ("none", "is")
    found = f" and {_overlooked(plan)} overlooked" if plan.planted else ""
    if plan.kind == "stratified":
        return f"Shows {shown}, and the same of each {plan.by}, if {few} of each one’s sample {are}{found}."
    return f"Shows {shown}, if {few} of the {size:,} records drawn {are}{found}."


def _overlooked(plan: CertificatePlan) -> str:
    few, are = (f"no more than {plan.missed:,}", "are") if plan.missed else ("none", "is")
    return f"{few} of the {plan.planted:,} known faults mixed among them {are}"


def expected_words(found: Forecast) -> str:
    """How many judgments a sequential test takes; empty for other plans."""
    if found.plan.kind != "sequential":
        return ""
    test = found.plan.sprt
    good, bad = (round(test.expected_records(rate)) for rate in (test.good, test.bad))
    return (
        f"On average about {good:,} records if {percent(test.good)} are wrong, {bad:,} if {percent(test.bad)} are; "
        "the end without a decision claims nothing."
    )


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines of a sequential test and the way through them, as points of an SVG."""

    accept: str
    reject: str
    way: str
    here: tuple[float, float]
    records: int  # at the right edge
    faults: int  # at the top
    words: str

    @property
    def bottom(self) -> int:
        return HEIGHT - BOTTOM


def picture_of(study: Certification, judged: int) -> Picture | None:
    """None for other plans."""
    plan = CertificatePlan.model_validate(study.plan)
    if plan.kind != "sequential":
        return None
    test = plan.sprt
    wrong = [outcome == Outcome.WRONG for outcome in study.drawn.values_list("outcome", flat=True)[:judged]]
    records = min(study.size, max(test.fewest, round(judged * 1.25), 1))
    faults = max(sum(wrong) + 1, test.reject_at(records), 1)

    def point(n: float, found: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 8) * n / records
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * found / faults
        return round(x, 1), round(y, 1)

    steps, found = [point(0, 0)], 0
    for n, fault in enumerate(wrong, start=1):
        if fault:
            steps.append(point(n, found))
            found += 1
            steps.append(point(n, found))
    steps.append(point(len(wrong), found))
    start = test.below / test.slope
    return Picture(
        accept=_line([point(start, 0), point(records, max(test.slope * records - test.below, 0))]),
        reject=_line([point(0, test.above), point(records, test.slope * records + test.above)]),
        way=_line(steps),
        here=steps[-1],
        records=records,
        faults=faults,
        words=f"{found:,} wrong of {len(wrong):,} judged in the order drawn, between the line that accepts and the one that rejects.",
    )


def _line(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
