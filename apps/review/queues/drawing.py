"""A plan as one SELECT: which paths, with which chance, in which order. Drawn by the database, whatever the run's size.

A draw sorts by md5 of "seed:use:id" (`plans.mix` is the same number), so the same seed gives the same sample again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.reasoning.facts import policy_of
from apps.reasoning.models import Run
from apps.review.queues import frames
from apps.review.queues.plans import PlanError, SamplingPlan, allocate, at_cut_off, flip_value
from apps.review.statistics.tiers import true_error_distribution


@dataclass(frozen=True, slots=True)
class Draw:
    """`sql` gives (path_id, question_id, stratum, probability, priority, place); place counts from 1 without gaps.

    `frame`: how many units (paths, or whole questions) each stratum was drawn from; empty for plans that are no
    probability sample.
    """

    sql: str
    parameters: dict[str, Any]
    frame: dict[str, int] = field(default_factory=dict)


def draw_plan(run: Run, plan: SamplingPlan) -> Draw:
    """Raises PlanError: more strata than places, or a path that is not there."""
    _, parameters = frames.conditions(plan.filter)
    known = {"run": run.pk, "project": run.project_id, "seed": plan.seed, "size": plan.size} | parameters
    return DRAWS[plan.kind](run, plan, known)


def _probability_sample(run: Run, plan: SamplingPlan, parameters: dict[str, Any]) -> Draw:
    sizes = frames.stratum_sizes(run, plan)
    wanted = allocate(sizes, plan.size, plan.allocation)
    strata = sorted(wanted)
    chosen = f"""SELECT unit, question_id, stratum, probability FROM (
        SELECT u.unit, u.question_id, u.stratum, w.wanted, w.probability,
          row_number() OVER (PARTITION BY u.stratum ORDER BY {_key("draw", "u.unit")}, u.unit) AS rank
        FROM ({frames.frame(plan)}) u
        JOIN unnest(%(strata)s::text[], %(wanted)s::bigint[], %(chances)s::float8[], %(bounds)s::uuid[])
          AS w (stratum, wanted, probability, bound)
          ON w.stratum = u.stratum AND {_key("draw", "u.unit")} <= w.bound) f
      WHERE rank <= wanted"""  # noqa: S608
    if plan.whole_questions:
        sql = f"""SELECT l.path_id, l.question_id, d.stratum, d.probability, 0::float8 AS priority,
            row_number() OVER (ORDER BY d.key, l.question_id, l.path_id) AS place
          FROM (SELECT *, {_key("order", "unit")} AS key FROM ({chosen}) c) d
          CROSS JOIN LATERAL (SELECT l.path_id, l.question_id {frames.PATHS} AND l.question_id = d.unit) l"""  # noqa: S608
    else:
        sql = f"""SELECT unit AS path_id, question_id, stratum, probability, 0::float8 AS priority,
            row_number() OVER (ORDER BY {_key("order", "unit")}, unit) AS place FROM ({chosen}) d"""  # noqa: S608
    drawn = {
        "strata": strata,
        "wanted": [wanted[s] for s in strata],
        "chances": [wanted[s] / sizes[s] for s in strata],
        "bounds": [_bound(wanted[s], sizes[s]) for s in strata],
    }
    return Draw(sql, parameters | drawn, sizes)


def _bound(wanted: int, size: int) -> str:
    """A hash below which the lowest `wanted` of `size` lie, so that only those need be sorted.

    Ten standard deviations above what is expected; it fails to hold less often than once in 10^20 draws.
    """
    share = (wanted + 10 * math.sqrt(wanted) + 50) / size
    return str(UUID(int=min(int(share * 2**128), 2**128 - 1)))


def _by_tier_flip(run: Run, plan: SamplingPlan, parameters: dict[str, Any]) -> Draw:
    """Questions next to a cut-off first, then by the chance that their true tier is another one; all their paths."""
    counts = frames.label_counts(run, plan.filter)
    rated = rated_by_tier_flip(run, plan, counts)
    sql = f"""SELECT l.path_id, l.question_id, d.stratum, NULL::float8 AS probability, d.value AS priority,
        row_number() OVER (ORDER BY d.near DESC, d.value DESC, d.key, l.question_id, l.path_id) AS place
      FROM (
        SELECT q.question_id, q.errors || CASE q.errors WHEN 1 THEN ' error' ELSE ' errors' END AS stratum, v.near, v.value, {_key("order", "q.question_id")} AS key
        FROM ({frames.judged_questions(plan.filter)}) q
        JOIN unnest(%(errors)s::bigint[], %(correct)s::bigint[], %(near)s::boolean[], %(values)s::float8[])
          AS v (errors, correct, near, value) ON v.errors = q.errors AND v.correct = q.correct
        ORDER BY v.near DESC, v.value DESC, key, q.question_id LIMIT %(size)s) d
      CROSS JOIN LATERAL (SELECT l.path_id, l.question_id {frames.PATHS} AND l.question_id = d.question_id) l"""  # noqa: S608
    columns = {
        "near": [near for near, _, _, _ in rated],
        "values": [value for _, value, _, _ in rated],
        "errors": [errors for _, _, errors, _ in rated],
        "correct": [correct for _, _, _, correct in rated],
    }
    return Draw(sql, parameters | columns)


def rated_by_tier_flip(
    run: Run, plan: SamplingPlan, counts: list[tuple[int, int, int]]
) -> list[tuple[bool, float, int, int]]:
    """(next to a cut-off, chance that the true tier is another one, Errors, Corrects), for each (Errors, Corrects,
    questions)."""
    cutoffs = {"easy": run.config["cutoffs"]["easy"], "medium": run.config["cutoffs"]["medium"]}
    seen = [0] * (len(policy_of(run).slots) + 1)
    for errors, _, questions in counts:
        seen[errors] += questions
    known = {"sensitivity": plan.sensitivity, "specificity": plan.specificity}
    prior = tuple(float(chance) for chance in true_error_distribution(seen, **known))
    return [
        (at_cut_off(errors, **cutoffs), flip_value(errors, correct, **cutoffs, prior=prior, **known), errors, correct)
        for errors, correct, _ in counts
    ]


def _contradictions(run: Run, plan: SamplingPlan, parameters: dict[str, Any]) -> Draw:
    return Draw(_some_of(frames.contradictions(plan.filter)), parameters)


def _disagreements(run: Run, plan: SamplingPlan, parameters: dict[str, Any]) -> Draw:
    return Draw(_some_of(frames.disagreements(plan.filter)), parameters)


def _named(run: Run, plan: SamplingPlan, parameters: dict[str, Any]) -> Draw:
    paths = list(dict.fromkeys(plan.paths))
    known = frames.questions_of_paths(run, paths)
    if missing := [path for path in paths if path not in known]:
        raise PlanError(f"paths: {missing[0]} is no current path of this run, or its question is set aside")
    sql = """SELECT path_id, question_id, 'chosen' AS stratum, NULL::float8 AS probability, 0::float8 AS priority, place
      FROM unnest(%(paths)s::bigint[], %(questions)s::bigint[]) WITH ORDINALITY AS n (path_id, question_id, place)"""
    return Draw(sql, parameters | {"paths": paths, "questions": [known[path] for path in paths]})


DRAWS: dict[str, Callable[[Run, SamplingPlan, dict[str, Any]], Draw]] = {
    "random": _probability_sample,
    "stratified": _probability_sample,
    "tier_flip": _by_tier_flip,
    "contradictions": _contradictions,
    "disagreement": _disagreements,
    "paths": _named,
}


def _some_of(found: str) -> str:
    """At most `size` of what was found, in random order."""
    return f"""SELECT path_id, question_id, stratum, NULL::float8 AS probability, 0::float8 AS priority,
        row_number() OVER (ORDER BY key, path_id) AS place
      FROM (SELECT *, {_key("order", "path_id")} AS key FROM ({found}) f ORDER BY key, path_id LIMIT %(size)s) d"""  # noqa: S608


def _key(use: str, column: str) -> str:
    return f"md5(%(seed)s::text || ':{use}:' || {column})::uuid"
