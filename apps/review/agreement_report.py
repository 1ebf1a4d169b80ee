"""How far people agree: the first half of the page Agreement, as data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Literal

from apps.reasoning.models import Tier
from apps.review.agreement import Material, Opinion, Which, ratings
from apps.review.forest import Forest, Named, forest, in_order, monday, sliced
from apps.review.statistics.agreement import (
    Agreement,
    Ratings,
    RatingTable,
    agreement,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    raw_agreement,
)
from apps.review.statistics.figure import Figure, undefined

Measure = Literal["raw", "kappa", "ac1", "alpha"]
ENOUGH_PEOPLE = 5  # figures about people show to others than curators only as an aggregate of so many
MOST_PAIRS = 30
MOST_WEEKS = 26
TIERS: dict[str, str] = {Tier.EASY: "Easy", Tier.MEDIUM: "Medium", Tier.DIFFICULT: "Difficult"}
MEASURES: dict[Measure, str] = {"ac1": "AC1", "kappa": "κ", "alpha": "α", "raw": "Raw"}
MEASURING: dict[Measure, Callable[[RatingTable], Figure]] = {
    "raw": raw_agreement,
    "kappa": lambda table: cohen_kappa(table) if table.pairs is not None else fleiss_kappa(table),
    "ac1": gwet_ac1,
    "alpha": krippendorff_alpha,
}


@dataclass(frozen=True, slots=True)
class People:
    """How far people agree; `hidden` says why the figures are not shown to this person."""

    found: Agreement
    overall: Forest
    slices: Forest
    reviewers: int
    hidden: str = ""
    pairs_left_out: int = 0


def people_report(
    material: Material, which: Which, measure: Measure, *, names: dict[int, str], curator: bool
) -> People:
    """`names`: reviewer id → name, used for curators alone."""
    given = material.opinions_among(which)
    said = ratings(given, which)
    base = [n for n, o in enumerate(given) if o.base]
    found = agreement(RatingTable.of(said.among(base)))
    reviewers = len({given[n].reviewer for n in base})
    hidden = ""
    if not curator and 0 < reviewers < ENOUGH_PEOPLE:
        hidden = f"Shown once {ENOUGH_PEOPLE} people have judged: fewer could be told apart. Curators see them."
    whole, groups, left_out = [("All", found_by(found, measure))], [], 0
    if not hidden:
        groups = _people_groups(material, given, said, measure, curator=curator)
        if curator:
            pairs, left_out = _pairs(given, said, base, measure, names)
            groups.append(("Pair of reviewers", pairs))
    return People(
        found=found,
        overall=forest("coefficient", [(f.name, f) for f in (found.raw, found.ac1, found.kappa, found.alpha)]),
        slices=forest("share" if measure == "raw" else "coefficient", whole, groups),
        reviewers=reviewers,
        hidden=hidden,
        pairs_left_out=left_out,
    )


def found_by(found: Agreement, measure: Measure) -> Figure:
    figure: Figure = getattr(found, measure)
    return figure


def _people_groups(
    material: Material, given: Sequence[Opinion], said: Ratings, measure: Measure, *, curator: bool
) -> list[tuple[str, list[Named]]]:
    """`said`: the opinions of `given` as columns; slices are lists of places in both."""

    def figure(places: list[int]) -> Figure:
        table = RatingTable.of(said.among(places))
        if not curator and table.raters < ENOUGH_PEOPLE:
            why = f"Fewer than {ENOUGH_PEOPLE} people judged these: shown to curators only."
            return undefined(MEASURES[measure], "coefficient", why, n=table.n)
        return MEASURING[measure](table)

    def by(name: Callable[[Opinion], str]) -> list[Named]:
        return sliced(base, lambda n: name(given[n]), figure)

    base = [n for n, o in enumerate(given) if o.base]
    rewritten = [n for n, o in enumerate(given) if not o.base]
    weeks = _weeks_first_seen([given[n] for n in base])
    return [
        ("Model", by(lambda o: o.generator)),
        ("Tier", in_order(by(lambda o: TIERS.get(material.tier(o), "")), TIERS.values())),
        ("Benchmark", by(lambda o: o.benchmark)),
        ("Week a path was first judged", by(lambda o: weeks[o.path])[-MOST_WEEKS:]),
        ("Beyond the first paths", [("Rewritten paths", figure(rewritten))] if rewritten else []),
    ]


def _weeks_first_seen(opinions: Iterable[Opinion]) -> dict[int, str]:
    """{path: the Monday of the week in which it was first judged}."""
    first_seen: dict[int, datetime] = {}
    for o in opinions:
        first_seen[o.path] = min(o.at, first_seen.get(o.path, o.at))
    return {path: f"{monday(at):%Y-%m-%d}" for path, at in first_seen.items()}


def _pairs(
    given: Sequence[Opinion], said: Ratings, base: Sequence[int], measure: Measure, names: dict[int, str]
) -> tuple[list[Named], int]:
    """The pairs with the most paths in common, and how many more there are."""
    by_path: dict[int, list[int]] = defaultdict(list)
    for n in base:
        by_path[given[n].path].append(n)
    shared: dict[tuple[int, int], list[int]] = defaultdict(list)
    for places in by_path.values():
        for a, b in combinations(sorted(places, key=lambda n: given[n].reviewer), 2):
            shared[given[a].reviewer, given[b].reviewer] += [a, b]
    most = sorted(shared.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [
        (
            f"{names.get(a, 'someone')} and {names.get(b, 'someone')}",
            MEASURING[measure](RatingTable.of(said.among(both))),
        )
        for (a, b), both in most[:MOST_PAIRS]
    ]
    return lines, max(0, len(most) - MOST_PAIRS)
