"""The page Agreement: how far people agree, and what the judge is worth against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.questions.access import CLINICIAN, CURATOR, has_role, project_of, role_required
from apps.questions.models import Project
from apps.reasoning.models import Run
from apps.review.agreement import Material, Which, fetch, newest, said_much
from apps.review.agreement_report import ENOUGH_PEOPLE, MEASURES, Measure, People, people_report
from apps.review.judge_report import QUALITIES, Judge, Quality, TierTable, judge_report, tier_table
from apps.review.kept import kept

RUNS = 200
WHICH: dict[Which, str] = {"drawn": "Blind, drawn at random", "blind": "All blind", "all": "All first verdicts"}
Choice = TypeVar("Choice", bound=str)
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Found:
    """What the page shows of one choice of run, verdicts and figures."""

    empty: bool
    which: Which
    sizes: dict[Which, int]
    people: People
    judge: Judge
    tiers: TierTable | None


@role_required(CLINICIAN, CURATOR)
@require_safe
def agreement(request: HttpRequest) -> HttpResponse:
    """`run` by name, all runs of the project without it; `verdicts`, `measure` and `figure` choose what is shown."""
    assert isinstance(request.user, User)
    project = project_of(request)
    runs = list(project.runs.all()[:RUNS])
    run = _run(project, runs, request.GET.get("run", ""))
    wanted = _choice(request.GET.get("verdicts", ""), WHICH, None)
    measure: Measure = _choice(request.GET.get("measure", ""), MEASURES, "ac1")
    quality: Quality = _choice(request.GET.get("figure", ""), QUALITIES, "sensitivity")
    curator = has_role(request.user, CURATOR)
    known = kept(
        f"agreement:{project.pk}:{run.pk if run else 0}:{wanted}:{measure}:{quality}:{curator}",
        str(newest(project)),
        lambda: _find(project, run, runs, wanted, measure, quality, curator),
        at_once=not said_much(project),
    )
    if known is None:
        return render(request, "review/agreement_wait.html", {"run": run})
    found = known.value
    context = {
        "run": run,
        "runs": runs,
        "found": found,
        "known": known,
        "measure": MEASURES[measure],
        "quality": QUALITIES[quality],
        "curator": curator,
        "enough": ENOUGH_PEOPLE,
        **_links(request, {"verdicts": found.which, "measure": measure, "figure": quality}),
    }
    return render(request, "review/agreement.html", context)


def _find(
    project: Project, run: Run | None, runs: list[Run], wanted: Which | None, measure: Measure, quality: Quality,
    curator: bool,
) -> Found:  # fmt: skip
    material = fetch(project, run)
    which = wanted or material.strictest
    names = _names(material) if curator else {}
    judge = judge_report(material, which, quality, [run] if run else runs, one_run=run is not None)
    return Found(
        empty=not material.opinions,
        which=which,
        sizes=material.sizes,
        people=people_report(material, which, measure, names=names, curator=curator),
        judge=judge,
        tiers=tier_table(run, judge.found) if run else None,
    )


def _run(project: Project, runs: list[Run], name: str) -> Run | None:
    if not name:
        return None
    found = next((run for run in runs if run.name == name), None) or project.runs.filter(name=name).first()
    if found is None:
        raise Http404("No such run.")
    return found


def _choice(said: str, known: Mapping[Choice, str], otherwise: Other) -> Choice | Other:
    return next((choice for choice in known if choice == said), otherwise)


def _names(material: Material) -> dict[int, str]:
    people = User.objects.filter(pk__in={opinion.reviewer for opinion in material.opinions})
    return {person.pk: person.get_full_name() or person.get_username() for person in people}


def _links(request: HttpRequest, chosen: dict[str, str]) -> dict[str, Any]:
    """For each switch: (address, words, whether it is on), the other choices kept as they are."""
    kept = {name: request.GET[name] for name in ("run", *chosen) if request.GET.get(name)}

    def switch(name: str, words: dict[Any, str], anchor: str) -> list[tuple[str, str, bool]]:
        return [
            (f"?{urlencode({**kept, name: choice})}#{anchor}", word, chosen[name] == choice)
            for choice, word in words.items()
        ]

    return {
        "which_links": switch("verdicts", WHICH, "main"),
        "measure_links": switch("measure", MEASURES, "people"),
        "figure_links": switch("figure", QUALITIES, "judge"),
        "kept": {name: value for name, value in kept.items() if name != "run"},
    }
