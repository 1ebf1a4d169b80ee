"""What people and judges said of the same paths, read from the ledger for `statistics`. Only judged paths are fetched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np
from django.db.models import BooleanField, Count, Max, Q, QuerySet, Sum
from django.db.models.expressions import RawSQL

from apps.questions.models import Project
from apps.reasoning.models import (
    BASE_ORIGINS,
    Label,
    PathLabel,
    Run,
    RunCounter,
    RunQuestion,
    Verdict,
    VerdictSource,
)
from apps.review.statistics.agreement import CATEGORIES, Ratings, scaled
from apps.review.statistics.judge import Calibration, JudgeFigures, judge_figures

Which = Literal["drawn", "blind", "all"]
MUCH = 500  # verdicts of people
DECIDED = (Label.CORRECT, Label.ERROR)
PLACES = {str(Label.CORRECT): CATEGORIES.index("Correct"), str(Label.ERROR): CATEGORIES.index("Error")}
OPINION_COLUMNS = (
    "reviewer_id", "path_id", "label", "counts", "details__blind", "judgment__blind", "created_at",
    "judgment__item__inclusion_probability", "path__question_id", "path__run_id", "path__origin", "path__generator",
    "path__question__benchmark__name",
)  # fmt: skip


class Opinion(NamedTuple):
    """A person's first verdict of a path (the first blind one where there is one) that was not taken back.

    `probability`: the chance with which a sampling plan drew the path; none where it was chosen otherwise.
    """

    reviewer: int
    path: int
    label: str
    at: datetime
    blind: bool
    probability: float | None
    question: int
    run: int  # whose path it is
    base: bool  # as generated or imported, not rewritten
    generator: str
    benchmark: str

    def among(self, which: Which) -> bool:
        return which == "all" or (self.blind and (which == "blind" or self.probability is not None))


class JudgeLabel(NamedTuple):
    """What a run's judge says of a path that people judged too."""

    run: int
    path: int
    label: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Material:
    """Everything the page is made of. `tiers`: (run, question) → tier."""

    opinions: tuple[Opinion, ...]
    judged: tuple[JudgeLabel, ...]
    settled: dict[int, str]  # path → adjudicated label
    tiers: dict[tuple[int, int], str]
    any_tier: dict[int, str]  # question → its tier in the latest run that has one

    def tier(self, opinion: Opinion) -> str:
        """In the run whose path it is, else in the latest run that uses it."""
        return self.tiers.get((opinion.run, opinion.question)) or self.any_tier.get(opinion.question, "")

    def opinions_among(self, which: Which) -> list[Opinion]:
        return [opinion for opinion in self.opinions if opinion.among(which)]

    @property
    def sizes(self) -> dict[Which, int]:
        """Opinions on paths as first written, by how strict one is."""
        ways: tuple[Which, ...] = ("drawn", "blind", "all")
        return {which: sum(o.base and o.among(which) for o in self.opinions) for which in ways}

    @property
    def strictest(self) -> Which:
        """The strictest choice that leaves anything."""
        sizes = self.sizes
        return "drawn" if sizes["drawn"] else "blind" if sizes["blind"] else "all"


def calibration_of(run: Run) -> JudgeFigures:
    """The judge's figures of a run against people, from the strictest verdicts there are. Undefined without any."""
    material = fetch(run.project, run)
    which = material.strictest
    rows, _ = judged_rows(material, which)
    return judge_figures(calibration([row for row in rows if row.base], which))


def fetch(project: Project, run: Run | None = None) -> Material:
    """In four statements, whatever there is; with a run, only what was said of its paths and by its judge."""
    people = _people(project, run)
    opinions = tuple(_opinions(people.filter(source=VerdictSource.PERSON)))
    settled = dict(
        people.filter(source=VerdictSource.ADJUDICATION, current=True).order_by("id").values_list("path_id", "label")
    )
    runs = Q(run=run) if run else Q(run__in=project.runs.values("pk"))
    judged = runs & Q(source=VerdictSource.JUDGE, current=True, label__in=DECIDED)
    columns = ("run_id", "path_id", "label", "created_at")
    said = Verdict.objects.filter(judged, _among("path_id", {o.path for o in opinions})).values_list(*columns)
    rows = RunQuestion.objects.filter(runs, _among("question_id", {o.question for o in opinions})).exclude(tier="")
    tiers = list(rows.order_by("run_id").values_list("run_id", "question_id", "tier"))
    return Material(
        opinions=opinions,
        judged=tuple(JudgeLabel(*row) for row in said),
        settled=settled,
        tiers={(r, q): tier for r, q, tier in tiers},
        any_tier={q: tier for _, q, tier in tiers},
    )


def _among(column: str, ids: set[int]) -> RawSQL:
    """By the ids themselves, as an array: by way of a subquery the planner reads every verdict of the judge."""
    return RawSQL(f"{column} = ANY(%s)", [sorted(ids)], output_field=BooleanField())  # noqa: S611 - columns named here


def said_much(project: Project) -> bool:
    """Whether people said so much that figures of it take longer than a page may."""
    said = Verdict.objects.filter(project=project, reviewer__isnull=False)
    return said.order_by()[: MUCH + 1].count() > MUCH


def newest(project: Project) -> int:
    """The latest thing a person said in the project, by id; 0 before the first."""
    said = Verdict.objects.filter(project=project, reviewer__isnull=False)
    return said.aggregate(latest=Max("id"))["latest"] or 0


def _people(project: Project, run: Run | None) -> QuerySet[Verdict]:
    """What people said, practice left out. The index on reviewers leads past the judge's millions."""
    found = Verdict.objects.filter(project=project, reviewer__isnull=False).exclude(
        judgment__item__queue__practice=True
    )
    if run is None:
        return found
    return found.filter(Q(path__run=run.paths_run_id, path__origin__in=BASE_ORIGINS) | Q(path__run=run.pk))


def _opinions(verdicts: QuerySet[Verdict]) -> Iterable[Opinion]:
    rows = verdicts.order_by("reviewer_id", "path_id", "id").values_list(*OPINION_COLUMNS)
    for _, given in groupby(rows.iterator(chunk_size=5000), key=lambda row: row[:2]):
        standing: list[tuple[Any, ...]] = []
        for row in given:
            if row[2] in DECIDED:
                standing.append(row)
            else:  # taken back: what counts and what only measures, each for itself
                standing = [said for said in standing if said[3] != row[3]]
        blind = [row for row in standing if row[4] is True or row[5] is True]
        if standing:
            yield _opinion((blind or standing)[0], bool(blind))


def _opinion(row: tuple[Any, ...], blind: bool) -> Opinion:
    reviewer, path, label, _, _, _, at, probability, question, run, origin, generator, benchmark = row
    return Opinion(
        reviewer, path, label, at, blind, probability, question, run, origin in BASE_ORIGINS, generator, benchmark
    )


class JudgedRow(NamedTuple):
    """One path as a run's judge and as people see it; `truth` and `judge`: it is an Error."""

    truth: bool
    judge: bool
    question: int
    probability: float | None
    run: int
    at: datetime  # of the judge's verdict
    base: bool
    generator: str
    benchmark: str
    tier: str


def judged_rows(material: Material, which: Which) -> tuple[list[JudgedRow], int]:
    """Paths with both labels, and how many were left out because people are divided over them.

    People's label of a path is what most of them say; where they are evenly divided, the adjudicator's.
    """
    by_path: dict[int, list[Opinion]] = defaultdict(list)
    for opinion in material.opinions_among(which):
        by_path[opinion.path].append(opinion)
    rows: list[JudgedRow] = []
    divided: set[int] = set()
    for said in material.judged:
        given = by_path.get(said.path)
        if not given:
            continue
        truth = _truth(given, material.settled.get(said.path, ""))
        if not truth:
            divided.add(said.path)
            continue
        one = given[0]
        drawn = next((o.probability for o in given if o.probability is not None), None)
        rows.append(
            JudgedRow(
                truth == Label.ERROR, said.label == Label.ERROR, one.question, drawn, said.run, said.at, one.base,
                one.generator, one.benchmark, material.tiers.get((said.run, one.question), ""),
            )
        )  # fmt: skip
    return rows, len(divided)


def _truth(given: Sequence[Opinion], settled: str) -> str:
    votes = Counter(opinion.label for opinion in given)
    difference = votes[Label.ERROR] - votes[Label.CORRECT]
    if difference:
        return str(Label.ERROR if difference > 0 else Label.CORRECT)
    return settled


def calibration(rows: Sequence[JudgedRow], which: Which) -> Calibration:
    """Weighted by how the paths were drawn only where all of them were."""
    return Calibration(
        np.array([r.truth for r in rows], dtype=bool),
        np.array([r.judge for r in rows], dtype=bool),
        np.array([r.question for r in rows], dtype=np.int64),
        scaled(np.array([weight(r.probability, which) for r in rows], dtype=float)),
    )


def ratings(opinions: Sequence[Opinion], which: Which) -> Ratings:
    return Ratings(
        np.array([o.path for o in opinions], dtype=np.int64),
        np.array([o.reviewer for o in opinions], dtype=np.int64),
        np.array([PLACES[o.label] for o in opinions], dtype=np.int64),
        np.array([o.question for o in opinions], dtype=np.int64),
        np.array([weight(o.probability, which) for o in opinions], dtype=float),
    )


def weight(probability: float | None, which: Which) -> float:
    return 1 / probability if which == "drawn" and probability else 1.0


@dataclass(frozen=True, slots=True)
class Apparent:
    """What the judge said of all paths of a run as first written, and questions by errors as they stand now."""

    errors: int
    correct: int
    by_errors: tuple[int, ...]

    @property
    def judged(self) -> int:
        return self.errors + self.correct

    @property
    def rate(self) -> float:
        return self.errors / self.judged


def apparent_of(runs: Sequence[Run]) -> dict[int, Apparent]:
    """From the runs' counters, in two statements. They count effective labels; where a person's stands instead of the
    judge's, it is exchanged back."""
    labels: dict[int, Counter[str]] = defaultdict(Counter)
    errors: dict[int, Counter[int]] = defaultdict(Counter)
    counters = RunCounter.objects.filter(run__in=runs).filter(
        Q(key__startswith="labels:") | Q(key__startswith="errors:")
    )
    for run, key, value in counters.values_list("run_id", "key").annotate(total=Sum("value")):
        kind, _, name = key.partition(":")
        if kind == "labels":
            labels[run][name] += value
        else:
            errors[run][int(name)] += value
    overridden = PathLabel.objects.filter(run__in=runs, overridden=True, path__origin__in=BASE_ORIGINS)
    for run, stands, said, n in overridden.values_list("run_id", "label", "judge_label").annotate(n=Count("id")):
        labels[run][stands] -= n
        labels[run][said] += n
    return {
        run.pk: Apparent(
            labels[run.pk][Label.ERROR],
            labels[run.pk][Label.CORRECT],
            tuple(errors[run.pk][n] for n in range(paths_of(run) + 1)),
        )
        for run in runs
    }


def paths_of(run: Run) -> int:
    return sum(len(g.get("temperatures", ())) for g in run.config.get("generators", ()))
