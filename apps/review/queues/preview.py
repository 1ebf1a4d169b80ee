"""What a plan would give, told before anything is drawn: a page shows it with every change of the form.

Samples are not drawn for it. How large each stratum is and what is taken from it is exact, from the run's `cells`; what
the draw leaves to chance (whose labels, of how many questions) is what is to be expected.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.core.cache import cache

from apps.reasoning.models import Run
from apps.reasoning.selectors import counters_mark
from apps.review.queues import frames
from apps.review.queues.cells import KEPT_S, Cell, Kind, cells_of
from apps.review.queues.drawing import draw_plan, rated_by_tier_flip
from apps.review.queues.measured import as_measured
from apps.review.queues.plans import WHOLE, SamplingPlan, allocate


@dataclass(frozen=True, slots=True)
class Stratum:
    """`paths` would be drawn. In a probability sample: `units` of `of` (paths, or whole questions), each with the chance
    `probability`."""

    name: str
    paths: int
    units: int
    of: int | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Without gold. `labels`: how many of its paths the judge called correct, error, … `about_paths` and
    `about_questions`: that number depends on the draw, and what stands here is to be expected; so are `labels` then."""

    size: int
    questions: int
    strata: tuple[Stratum, ...]
    labels: dict[str, int]
    about_paths: bool = False
    about_questions: bool = False


def preview_plan(*, run: Run, plan: SamplingPlan) -> Preview:
    """What `build_queue` would take now, without writing. Raises PlanError."""
    plan = as_measured(run, plan)
    return PREVIEWS.get(plan.kind, _drawn)(run, plan)


def _sample(run: Run, plan: SamplingPlan) -> Preview:
    return _of_questions(run, plan) if plan.whole_questions else _of_paths(run, plan)


def _of_paths(run: Run, plan: SamplingPlan) -> Preview:
    labels: dict[str, Counter[str]] = defaultdict(Counter)  # by stratum
    held: Counter[tuple[tuple[str, int], ...]] = Counter()  # questions by how many paths they have in which stratum
    for cell in cells_of(run):
        within: Counter[str] = Counter()
        for kind, n in cell.paths_among(plan.filter):
            stratum = _stratum(plan, cell, kind)
            labels[stratum][kind[1]] += n * cell.questions
            within[stratum] += n
        held[tuple(within.items())] += cell.questions
    sizes = {stratum: counts.total() for stratum, counts in labels.items()}
    wanted = allocate(sizes, plan.size, plan.allocation)
    missed = {stratum: 1 - wanted[stratum] / sizes[stratum] for stratum in wanted}
    some = sum(n * (1 - math.prod(missed[s] ** paths for s, paths in within)) for within, n in held.items())
    expected: Counter[str] = Counter()
    for stratum, n in wanted.items():
        expected.update(_shared(n, labels[stratum]))
    return Preview(
        sum(wanted.values()),
        round(some),
        tuple(Stratum(s, wanted[s], wanted[s], sizes[s], wanted[s] / sizes[s]) for s in sorted(wanted)),
        dict(expected),
        about_questions=wanted != sizes,
    )


def _of_questions(run: Run, plan: SamplingPlan) -> Preview:
    groups: dict[str, Group] = defaultdict(Group)
    for cell in cells_of(run):
        if any(True for _ in cell.paths_among(plan.filter)):
            groups[_stratum(plan, cell)].add(cell)
    wanted = allocate({stratum: group.questions for stratum, group in groups.items()}, plan.size, plan.allocation)
    taken = {stratum: groups[stratum].part(n) for stratum, n in wanted.items()}
    strata = tuple(
        Stratum(s, taken[s].paths, n, groups[s].questions, n / groups[s].questions) for s, n in sorted(wanted.items())
    )
    return _together(taken, strata)


def _by_tier_flip(run: Run, plan: SamplingPlan) -> Preview:
    """Whole groups of questions with as many Errors and Corrects, in the order of the draw; of the last one a part."""
    groups: dict[tuple[int, int], Group] = defaultdict(Group)
    for cell in cells_of(run):
        if cell.tier and cell.is_among(plan.filter):
            said = Counter[str]()
            for (_, label), n in cell.paths:
                said[label] += n
            groups[said["error"], said["correct"]].add(cell)
    counts = [(errors, correct, group.questions) for (errors, correct), group in groups.items()]
    left, taken = plan.size, dict[str, Group]()
    for _near, _value, errors, correct in sorted(
        rated_by_tier_flip(run, plan, counts), key=lambda r: (not r[0], -r[1])
    ):
        part = groups[errors, correct].part(min(left, groups[errors, correct].questions))
        left -= part.questions
        if part.questions:
            taken.setdefault(f"{errors} error{'' if errors == 1 else 's'}", Group()).merge(part)
    strata = tuple(Stratum(s, group.paths, group.paths, None, None) for s, group in sorted(taken.items()))
    return _together(taken, strata)


def _contradictions(run: Run, plan: SamplingPlan) -> Preview:
    """Drawn once and kept like the cells: the answers of all questions are held against their keys for it."""
    key = f"preview:{run.pk}:{counters_mark(run)}:{hashlib.sha256(plan.model_dump_json().encode()).hexdigest()}"
    found: Preview | None = cache.get(key)
    if found is None:
        found = _drawn(run, plan)
        cache.set(key, found, KEPT_S)
    return found


def _drawn(run: Run, plan: SamplingPlan) -> Preview:
    """Of plans that pick few paths out of a run: by drawing them."""
    drawn = draw_plan(run, plan)
    rows = frames.fetch(
        f"""SELECT d.stratum, l.judge_label, count(*), count(DISTINCT d.question_id), GROUPING(d.stratum, l.judge_label)
        FROM ({drawn.sql}) d JOIN reasoning_pathlabel l ON l.run_id = %(run)s AND l.path_id = d.path_id
        GROUP BY GROUPING SETS ((d.stratum), (l.judge_label), ()) ORDER BY d.stratum""",  # noqa: S608
        drawn.parameters,
    )
    strata = tuple(Stratum(name, n, n, None, None) for name, _, n, _, grouped in rows if grouped == 1)
    labels = {label: n for _, label, n, _, grouped in rows if grouped == 2}
    size, questions = next((n, questions) for _, _, n, questions, grouped in rows if grouped == 3)
    return Preview(size, questions, strata, labels)


PREVIEWS: dict[str, Callable[[Run, SamplingPlan], Preview]] = {
    "random": _sample,
    "stratified": _sample,
    "tier_flip": _by_tier_flip,
    "contradictions": _contradictions,
}


class Group:
    """Questions with all their paths, by the judge's label."""

    def __init__(self) -> None:
        self.questions = self.paths = 0
        self.labels: Counter[str] = Counter()
        self.each: set[int] = set()  # how many paths a question may have
        self.about = False

    def add(self, cell: Cell) -> None:
        self.questions += cell.questions
        self.each.add(sum(n for _, n in cell.paths))
        for (_, label), n in cell.paths:
            self.labels[label] += n * cell.questions
            self.paths += n * cell.questions

    def part(self, questions: int) -> Group:
        """As many of them, chosen at random, with the paths to be expected."""
        some = Group()
        if questions:
            some.questions, some.each = questions, self.each
            some.about = questions < self.questions and len(self.each) > 1
            some.paths = round(self.paths * questions / self.questions)
            some.labels = Counter(_shared(some.paths, self.labels))
        return some

    def merge(self, other: Group) -> None:
        self.questions += other.questions
        self.paths += other.paths
        self.labels += other.labels
        self.about = self.about or other.about


def _together(taken: Mapping[str, Group], strata: tuple[Stratum, ...]) -> Preview:
    labels: Counter[str] = Counter()
    for group in taken.values():
        labels += group.labels
    questions = sum(group.questions for group in taken.values())
    paths = sum(group.paths for group in taken.values())
    return Preview(paths, questions, strata, dict(labels), about_paths=any(g.about for g in taken.values()))


def _stratum(plan: SamplingPlan, cell: Cell, kind: Kind = ("", "")) -> str:
    """As `frames.frame` names it."""
    traits = {
        "benchmark": cell.benchmark,
        "tier": cell.tier or "no tier",
        "generator": kind[0],
        "label": kind[1] or "not judged",
    }
    return " / ".join(traits[trait] for trait in plan.by) or WHOLE


def _shared(total: int, among: Mapping[str, int]) -> dict[str, int]:
    """`total` in the proportions of `among`, in whole numbers that add up to it."""
    everything = sum(among.values())
    exact = {name: total * n / everything for name, n in among.items()}
    given = {name: int(share) for name, share in exact.items()}
    most = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in most[: total - sum(given.values())]:
        given[name] += 1
    return {name: n for name, n in given.items() if n}
