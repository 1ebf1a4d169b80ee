"""What is known of the labels' quality when an export is built: the judge against clinicians, and clinicians among themselves."""

from __future__ import annotations

from typing import Any

from apps.reasoning.models import Run
from apps.review.agreement import Which, fetch
from apps.review.agreement_report import ENOUGH_PEOPLE, people_report
from apps.review.judge_report import judge_report
from apps.review.statistics.figure import Figure

BASIS: dict[Which, str] = {
    "drawn": "paths drawn by a sampling plan and judged blind",
    "blind": "paths judged blind, not all of them drawn by a plan",
    "all": "all judged paths, some of them judged with the judge's verdict in sight",
}
FEW = f"fewer than {ENOUGH_PEOPLE} people judged paths of this run, so figures about them are not told"


def quality_of(run: Run) -> dict[str, Any]:
    """From the strictest verdicts there are on the run's paths as first written; the same figures as on the page Agreement.

    Figures about people are told from so many people on as everywhere else.
    """
    material = fetch(run.project, run)
    which = material.strictest
    given = [o for o in material.opinions_among(which) if o.base]
    judge = judge_report(material, which, "sensitivity", [run], one_run=True)
    people = people_report(material, which, "raw", names={}, curator=False)
    few = people.reviewers < ENOUGH_PEOPLE
    return {
        "basis": BASIS[which] if given else None,
        "paths": len({o.path for o in given}),
        "divided": judge.divided,
        "judge": [_told(figure) for figure in judge.found.figures],
        "agreement": [] if few else [_told(figure) for figure in people.found.figures],
        "agreement_not_told": FEW if few else "",
    }


def _told(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "n": figure.n,
        "value": _rounded(figure.value),
        "low": _rounded(figure.low),
        "high": _rounded(figure.high),
        "method": figure.method,
        "sentence": figure.sentence,
        "words": figure.value_words,
        "interval": figure.interval_words,
    }


def _rounded(number: float | None) -> float | None:
    """Beyond six digits, machines differ."""
    return None if number is None else round(number, 6)
