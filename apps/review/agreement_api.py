"""API: the figures of the page Agreement, each with its n, its interval and how it was reckoned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from apps.questions.access import CURATOR, has_role, project_of
from apps.questions.api_access import Problem, judging, signed_in
from apps.reasoning.api import run_named
from apps.review.agreement import fetch
from apps.review.agreement_report import Measure, people_report
from apps.review.forest import Forest
from apps.review.judge_report import Quality, judge_report, tier_table

router = Router(tags=["review"], auth=judging)
RUNS = 200


class FigureOut(Schema):
    """`value` is empty when the figure is undefined, and `undefined` says why."""

    name: str
    scale: str = Field(description="share (0 to 1) or coefficient (at most 1)")
    n: int
    effective_n: float = Field(description="Independent observations that n is worth")
    value: float | None
    low: float | None = Field(description="Of the 95 per cent interval")
    high: float | None
    method: str
    sentence: str
    undefined: str


class LineOut(Schema):
    name: str
    figure: FigureOut


class GroupOut(Schema):
    title: str
    lines: list[LineOut]


class PeopleOut(Schema):
    reviewers: int
    hidden: str = Field(description="Why the figures are not shown to you; empty when they are")
    figures: list[FigureOut]
    slices: list[GroupOut] = Field(description="The chosen measure by model, tier, benchmark and so on")


class CellsOut(Schema):
    found: int
    missed: int
    blamed: int
    passed: int


class ChangeOut(Schema):
    p: float | None
    slope: float | None
    sentence: str


class JudgeOut(Schema):
    figures: list[FigureOut]
    slices: list[GroupOut]
    cells: CellsOut
    divided: int = Field(description="Paths people are evenly divided over, left out")
    rates: list[LineOut] = Field(description="Corrected error rate of each run")
    changes: list[ChangeOut]


class TierRowOut(Schema):
    errors: int
    questions: int
    tier: str
    easy: float = Field(description="Chance that the question is easy in truth")
    medium: float
    difficult: float


class AgreementOut(Schema):
    verdicts: str = Field(description="What was counted: drawn, blind or all")
    sizes: dict[str, int]
    people: PeopleOut
    judge: JudgeOut
    tiers: list[TierRowOut] = Field(description="Of one run; empty for all runs")
    tiers_why_not: str


class AgreementQuery(Schema):
    run: str = Field("", max_length=100, description="Left out: all runs of the project")
    verdicts: Literal["drawn", "blind", "all"] | None = Field(None, description="Left out: the strictest there are")
    measure: Measure = "ac1"
    figure: Quality = "sensitivity"


@router.get("/agreement", response={200: AgreementOut, 404: Problem}, summary="How far people and judges agree")
def read_agreement(request: HttpRequest, query: Query[AgreementQuery]) -> dict[str, Any]:
    """Figures about fewer than five people are for curators alone."""
    project, curator = project_of(request), has_role(signed_in(request), CURATOR)
    run = run_named(request, query.run) if query.run else None
    material = fetch(project, run)
    which = query.verdicts or material.strictest
    reviewers = User.objects.filter(pk__in={o.reviewer for o in material.opinions}) if curator else []
    names = {person.pk: person.get_full_name() or person.get_username() for person in reviewers}
    people = people_report(material, which, query.measure, names=names, curator=curator)
    runs = [run] if run else list(project.runs.all()[:RUNS])
    judge = judge_report(material, which, query.figure, runs, one_run=run is not None)
    tiers = tier_table(run, judge.found) if run else None
    return {
        "verdicts": which,
        "sizes": material.sizes,
        "people": {
            "reviewers": people.reviewers,
            "hidden": people.hidden,
            "figures": [] if people.hidden else list(people.found.figures),
            "slices": [] if people.hidden else _groups(people.slices),
        },
        "judge": {
            "figures": list(judge.found.figures),
            "slices": _groups(judge.slices),
            "cells": asdict(judge.cells),
            "divided": judge.divided,
            "rates": list(judge.rates.whole),
            "changes": list(judge.changes),
        },
        "tiers": [
            {"errors": row.errors, "questions": row.questions, "tier": row.tier, **asdict(row.chances)}
            for row in (tiers.rows if tiers else ())
        ],
        "tiers_why_not": tiers.why_not if tiers else "",
    }


def _groups(found: Forest) -> list[dict[str, Any]]:
    whole = [{"title": "All", "lines": list(found.whole)}]
    return whole + [{"title": group.title, "lines": list(group.lines)} for group in found.groups]
