"""What the judge is worth against people: the second half of the page Agreement, as data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from apps.reasoning.models import Run
from apps.review.agreement import Apparent, JudgedRow, Material, Which, apparent_of, calibration, judged_rows
from apps.review.agreement_report import MOST_WEEKS, TIERS
from apps.review.forest import Axis, Forest, Line, Mark, Named, forest, in_order, monday, sliced
from apps.review.statistics import judge as judging
from apps.review.statistics.drift import Change, change_over_time
from apps.review.statistics.figure import Figure
from apps.review.statistics.judge import Calibration, JudgeFigures, judge_figures
from apps.review.statistics.tiers import Cutoffs, TierChances, tier_chances, true_error_distribution

Quality = Literal["sensitivity", "specificity", "ppv", "npv"]
QUALITIES: dict[Quality, str] = {
    "sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV",
}  # fmt: skip
QUALIFYING: dict[Quality, Callable[[judging.Calibration], Figure]] = {
    "sensitivity": judging.sensitivity,
    "specificity": judging.specificity,
    "ppv": judging.ppv,
    "npv": judging.npv,
}


@dataclass(frozen=True, slots=True)
class Cells:
    """Paths by what clinicians and the judge say."""

    found: int
    missed: int
    blamed: int
    passed: int

    @property
    def n(self) -> int:
        return self.found + self.missed + self.blamed + self.passed


@dataclass(frozen=True, slots=True)
class Week:
    start: date
    sensitivity: Line
    specificity: Line


@dataclass(frozen=True, slots=True)
class Judge:
    found: JudgeFigures
    overall: Forest
    slices: Forest
    cells: Cells
    divided: int  # paths people are evenly divided over, left out
    rates: Forest
    weeks: tuple[Week, ...]
    week_axis: Axis
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class TierRow:
    """Questions with `errors` Error labels: the tier they stand in, and the chance of each in truth."""

    errors: int
    questions: int
    tier: str
    chances: TierChances

    @property
    def below_difficult(self) -> float:
        return self.chances.easy + self.chances.medium

    @property
    def wrong(self) -> float:
        return self.chances.wrong(self.tier)


@dataclass(frozen=True, slots=True)
class TierTable:
    rows: tuple[TierRow, ...]
    why_not: str = ""

    @property
    def questions(self) -> int:
        return sum(row.questions for row in self.rows)

    @property
    def wrong(self) -> float:
        """Questions expected to stand in a tier they do not belong to."""
        return sum(row.questions * row.wrong for row in self.rows)


def judge_report(material: Material, which: Which, quality: Quality, runs: Sequence[Run], *, one_run: bool) -> Judge:
    """`runs`: those of the project, newest first."""
    rows, divided = judged_rows(material, which)
    columns = calibration(rows, which)
    base = [n for n, row in enumerate(rows) if row.base]
    whole = columns.among(base)
    found = judge_figures(whole)

    def figure(places: Sequence[int]) -> Figure:
        return QUALIFYING[quality](columns.among(places))

    def by(name: Callable[[JudgedRow], str]) -> list[Named]:
        return sliced(base, lambda n: name(rows[n]), figure)

    run_names = {run.pk: run.name for run in runs}
    rewritten = [n for n, row in enumerate(rows) if not row.base]
    groups = [
        ("Run", [] if one_run else by(lambda r: run_names.get(r.run, ""))),
        ("Model", by(lambda r: r.generator)),
        ("Tier", in_order(by(lambda r: TIERS.get(r.tier, "")), TIERS.values())),
        ("Benchmark", by(lambda r: r.benchmark)),
        ("Beyond the first paths", [("Rewritten paths", figure(rewritten))] if rewritten else []),
    ]
    weeks, axis, changes = _weeks([rows[n] for n in base], whole, found)
    return Judge(
        found=found,
        overall=forest("share", [(f.name, f) for f in found.figures]),
        slices=forest("share", [("All", QUALIFYING[quality](whole))], groups),
        cells=Cells(
            found=whole.count(truth=True, judge=True),
            missed=whole.count(truth=True, judge=False),
            blamed=whole.count(truth=False, judge=True),
            passed=whole.count(truth=False, judge=False),
        ),
        divided=divided,
        rates=_rates([rows[n] for n in base], whole, runs),
        weeks=weeks,
        week_axis=axis,
        changes=changes,
    )


def tier_table(run: Run, found: JudgeFigures) -> TierTable:
    """By errors judged: the chance of each tier in truth, from the run's own spread of errors, corrected."""
    apparent = apparent_of([run])[run.pk]
    sensitivity, specificity = found.sensitivity.value, found.specificity.value
    if sensitivity is None or specificity is None:
        return TierTable((), f"{found.sensitivity.undefined or found.specificity.undefined}")
    if sensitivity + specificity <= 1:
        return TierTable(
            (), "On these paths the judge does no better than chance, so its labels say nothing about tiers."
        )
    if not sum(apparent.by_errors):
        return TierTable((), "No question of this run has a tier yet.")
    return TierTable(tuple(_tier_rows(run, apparent, sensitivity, specificity)))


def _tier_rows(run: Run, apparent: Apparent, sensitivity: float, specificity: float) -> Iterable[TierRow]:
    cutoffs = Cutoffs(run.config["cutoffs"]["easy"], run.config["cutoffs"]["medium"])
    paths = len(apparent.by_errors) - 1
    prior = true_error_distribution(apparent.by_errors, sensitivity=sensitivity, specificity=specificity)
    for errors, questions in enumerate(apparent.by_errors):
        chances = tier_chances(
            [True] * errors + [False] * (paths - errors),
            sensitivity=sensitivity,
            specificity=specificity,
            prior=[float(p) for p in prior],
            cutoffs=cutoffs,
        )
        yield TierRow(errors, questions, list(TIERS)[cutoffs.tier(errors)], chances)


def _rates(rows: Sequence[JudgedRow], columns: Calibration, runs: Sequence[Run]) -> Forest:
    """The corrected error rate of each run that has paths judged by people, by its own calibration."""
    by_run: dict[int, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        by_run[row.run].append(n)
    known = [run for run in runs if run.pk in by_run]
    apparent = apparent_of(known)
    lines = [
        (run.name, judging.true_error_rate(apparent[run.pk].rate, columns.among(by_run[run.pk])))
        for run in known
        if apparent[run.pk].judged
    ]
    return forest("share", lines)


def _weeks(
    rows: Sequence[JudgedRow], columns: Calibration, found: JudgeFigures
) -> tuple[tuple[Week, ...], Axis, tuple[Change, ...]]:
    """By the week in which the judge spoke: a judge that changes shows here."""
    by_week: dict[date, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        by_week[monday(row.at)].append(n)
    figures = {}
    for week in sorted(by_week):
        some = columns.among(by_week[week])
        figures[week] = (judging.sensitivity(some), judging.specificity(some))
    axis = Axis.of("share", [f for pair in figures.values() for f in pair])
    weeks = tuple(
        Week(week, *(Line(f.name, f, Mark.of(f, axis)) for f in pair)) for week, pair in list(figures.items())[-MOST_WEEKS:]
    )  # fmt: skip
    changes = tuple(_change(i, whole, figures) for i, whole in enumerate((found.sensitivity, found.specificity)))
    return weeks, axis, changes


def _change(place: int, whole: Figure, figures: dict[date, tuple[Figure, Figure]]) -> Change:
    hits, totals, weeks = [], [], []
    for week, pair in figures.items():
        figure = pair[place]
        if figure.value is not None:
            hits.append(figure.value * figure.n)
            totals.append(float(figure.n))
            weeks.append(week.toordinal() / 7)
    effect = whole.n / whole.effective_n if whole.effective_n else 1.0
    return change_over_time(whole.name, hits, totals, weeks, design_effect=effect)
