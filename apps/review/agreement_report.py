"""How far people agree: the first half of the page Agreement, as data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Literal

from apps.reasoning.models import Tier
from apps.review.agreement import Material, Opinion, Which, ratings
from apps.review.forest import Forest, Named, forest, in_order, monday, sliced
from apps.review.statistics.agreement import (
    Agreement,
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
    base = [o for o in given if o.base]
    table = RatingTable.build(ratings(base, which))
    found = agreement(table)
    reviewers = len({o.reviewer for o in base})
    hidden = ""
    if not curator and 0 < reviewers < ENOUGH_PEOPLE:
        hidden = f"Shown once {ENOUGH_PEOPLE} people have judged: fewer could be told apart. Curators see them."
    whole, groups, left_out = [("All", found_by(found, measure))], [], 0
    if not hidden:
        groups = _people_groups(material, given, which, measure, curator=curator)
        if curator:
            pairs, left_out = _pairs(base, which, measure, names)
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
    material: Material, given: Sequence[Opinion], which: Which, measure: Measure, *, curator: bool
) -> list[tuple[str, list[Named]]]:
    def figure(opinions: list[Opinion]) -> Figure:
        table = RatingTable.build(ratings(opinions, which))
        if not curator and table.raters < ENOUGH_PEOPLE:
            why = f"Fewer than {ENOUGH_PEOPLE} people judged these: shown to curators only."
            return undefined(MEASURES[measure], "coefficient", why, n=table.n)
        return MEASURING[measure](table)

    base = [o for o in given if o.base]
    first_seen: dict[int, datetime] = {}
    for o in base:
        first_seen[o.path] = min(o.at, first_seen.get(o.path, o.at))
    rewritten = [o for o in given if not o.base]
    return [
        ("Model", sliced(base, lambda o: o.generator, figure)),
        ("Tier", in_order(sliced(base, lambda o: TIERS.get(material.tier(o), ""), figure), TIERS.values())),
        ("Benchmark", sliced(base, lambda o: o.benchmark, figure)),
        (
            "Week a path was first judged",
            sliced(base, lambda o: f"{monday(first_seen[o.path]):%Y-%m-%d}", figure)[-MOST_WEEKS:],
        ),
        ("Beyond the first paths", [("Rewritten paths", figure(rewritten))] if rewritten else []),
    ]


def _pairs(
    opinions: Sequence[Opinion], which: Which, measure: Measure, names: dict[int, str]
) -> tuple[list[Named], int]:
    """The pairs with the most paths in common, and how many more there are."""
    by_path: dict[int, list[Opinion]] = defaultdict(list)
    for o in opinions:
        by_path[o.path].append(o)
    shared: dict[tuple[int, int], list[Opinion]] = defaultdict(list)
    for given in by_path.values():
        for a, b in combinations(sorted(given, key=lambda o: o.reviewer), 2):
            shared[a.reviewer, b.reviewer] += [a, b]
    most = sorted(shared.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [
        (f"{names.get(a, 'someone')} and {names.get(b, 'someone')}", MEASURING[measure](RatingTable.build(ratings(both, which))))
        for (a, b), both in most[:MOST_PAIRS]
    ]  # fmt: skip
    return lines, max(0, len(most) - MOST_PAIRS)
