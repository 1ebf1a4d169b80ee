"""What the judge of a run is worth, for plans that weigh paths by it: measured against people where enough of them spoke."""

from __future__ import annotations

from dataclasses import dataclass

from apps.reasoning.models import Run
from apps.review.agreement import calibration_of, newest, said_much
from apps.review.kept import kept
from apps.review.queues.plans import SamplingPlan

ENOUGH = 30  # paths that people call Error, and as many that they call Correct: an interval of about ±.15


@dataclass(frozen=True, slots=True)
class Measured:
    """`errors` and `corrects`: how many paths each share rests on."""

    sensitivity: float
    specificity: float
    errors: int
    corrects: int


def measured_judge(run: Run) -> Measured | None:
    """None while too few paths were judged by people, or where the judge is no better than chance."""
    found = calibration_of(run)
    sensitivity, specificity = found.sensitivity, found.specificity
    if sensitivity.value is None or specificity.value is None or min(sensitivity.n, specificity.n) < ENOUGH:
        return None
    if sensitivity.value + specificity.value <= 1:
        return None
    return Measured(round(sensitivity.value, 3), round(specificity.value, 3), sensitivity.n, specificity.n)


def kept_measure(run: Run) -> Measured | None:
    """The same for a page: kept, and where people said much since, as of a moment ago."""
    found = kept(
        f"measured:{run.pk}:{run.created_at.timestamp()}",
        str(newest(run.project)),
        lambda: measured_judge(run),
        at_once=not said_much(run.project),
    )
    return found.value if found else measured_judge(run)


def as_measured(run: Run, plan: SamplingPlan) -> SamplingPlan:
    """A plan by tier flip that says nothing of the judge gets what is measured; one that does stays as it is."""
    if plan.kind != "tier_flip" or plan.model_fields_set & {"sensitivity", "specificity"}:
        return plan
    found = measured_judge(run)
    if found is None:
        return plan
    return plan.model_copy(update={"sensitivity": found.sensitivity, "specificity": found.specificity})
