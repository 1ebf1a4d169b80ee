"""How many questions of a run are alike in everything a plan can ask for, from the narrow rows that lists read.

A question's pattern holds the label of each slot. It is the judge's unless a person spoke or nobody judged; only such
questions are looked at path by path. So a run of 1.75 million paths is counted from 195,000 narrow rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from apps.reasoning.facts import policy_of
from apps.reasoning.models import Run
from apps.reasoning.selectors import counters_mark
from apps.review.queues.frames import PATHS, fetch
from apps.review.queues.plans import QueueFilter

KEPT_S = 3600
Kind = tuple[str, str]  # (generator, the judge's label) of a path
_LETTERS = {"C": "correct", "E": "error"}
_ONE_BY_ONE = "(rq.overridden OR rq.disputed OR strpos(rq.pattern, 'U') > 0)"
_BY_PATTERN = f"""
SELECT b.slug, g.tier, g.error_count, g.pattern, g.n FROM (
  SELECT rq.benchmark_id, rq.tier, rq.error_count, rq.pattern, count(*) AS n FROM reasoning_runquestion rq
  WHERE rq.run_id = %(run)s AND rq.reason <> 'question_invalid' AND NOT {_ONE_BY_ONE}
  GROUP BY rq.benchmark_id, rq.tier, rq.error_count, rq.pattern) g
JOIN questions_benchmark b ON b.id = g.benchmark_id"""  # noqa: S608
_PATH_BY_PATH = f"""
SELECT slug, tier, error_count, kinds, count(*) FROM (
  SELECT b.slug, rq.tier, rq.error_count, array_agg(p.generator || '/' || l.judge_label) AS kinds
  {PATHS} AND l.question_id = ANY(ARRAY(
    SELECT rq.question_id FROM reasoning_runquestion rq WHERE rq.run_id = %(run)s AND {_ONE_BY_ONE}))
  GROUP BY l.question_id, b.slug, rq.tier, rq.error_count) q
GROUP BY slug, tier, error_count, kinds"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Cell:
    """`questions` that are alike: each has `paths` of these kinds."""

    benchmark: str
    tier: str  # empty: none yet
    errors: int | None  # of the effective labels, with the tier
    paths: tuple[tuple[Kind, int], ...]
    questions: int

    def paths_among(self, chosen: QueueFilter) -> Iterator[tuple[Kind, int]]:
        """Those the filter lets in; of a question that it leaves out, none."""
        if self.is_among(chosen):
            for (generator, label), n in self.paths:
                if (not chosen.generators or generator in chosen.generators) and (
                    not chosen.labels or label in chosen.labels
                ):
                    yield (generator, label), n

    def is_among(self, chosen: QueueFilter) -> bool:
        return (
            (not chosen.benchmarks or self.benchmark in chosen.benchmarks)
            and (not chosen.tiers or self.tier in chosen.tiers)
            and (not chosen.error_counts or self.errors in chosen.error_counts)
        )


def cells_of(run: Run) -> tuple[Cell, ...]:
    """Kept until a counter of the run changes, which every new label or tier does."""
    key = f"cells:{run.pk}:{counters_mark(run)}"
    found: tuple[Cell, ...] | None = cache.get(key)
    if found is None:
        found = count_cells(run)
        cache.set(key, found, KEPT_S)
    return found


def count_cells(run: Run) -> tuple[Cell, ...]:
    found: Counter[tuple[str, str, int | None, tuple[tuple[Kind, int], ...]]] = Counter()
    generators = [generator for generator, _ in policy_of(run).slots]
    for slug, tier, errors, pattern, n in fetch(_BY_PATTERN, {"run": run.pk}):
        kinds = ((g, _LETTERS[letter]) for g, letter in zip(generators, pattern, strict=False) if letter in _LETTERS)
        found[slug, tier, errors, _counted(kinds)] += n
    for slug, tier, errors, names, n in fetch(_PATH_BY_PATH, {"run": run.pk}):
        found[slug, tier, errors, _counted(_kinds(names))] += n
    return tuple(Cell(*alike, n) for alike, n in found.items() if alike[-1])


def _kinds(names: Iterable[Any]) -> Iterator[Kind]:
    for name in names:
        generator, _, label = str(name).rpartition("/")
        yield generator, label


def _counted(kinds: Iterable[Kind]) -> tuple[tuple[Kind, int], ...]:
    return tuple(sorted(Counter(kinds).items()))
