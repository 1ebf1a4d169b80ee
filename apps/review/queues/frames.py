"""What a plan draws from, as SQL: the paths or questions of a run with their strata. Nothing is read into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from apps.reasoning.models import Run
from apps.review.queues.plans import WHOLE, QueueFilter, SamplingPlan

PATHS = """
FROM reasoning_pathlabel l
JOIN reasoning_reasoningpath p ON p.id = l.path_id AND p.current AND p.origin IN ('generated', 'imported')
JOIN reasoning_runquestion rq ON rq.run_id = l.run_id AND rq.question_id = l.question_id AND rq.reason <> 'question_invalid'
JOIN questions_benchmark b ON b.id = rq.benchmark_id
WHERE l.run_id = %(run)s"""
"""The paths that a queue of the run may hold: current, as first written, their question not set aside."""
_TRAITS = {
    "benchmark": "b.slug",
    "tier": "coalesce(nullif(rq.tier, ''), 'no tier')",
    "generator": "p.generator",
    "label": "coalesce(nullif(l.judge_label, ''), 'not judged')",
}

_OF_QUESTIONS = {"benchmarks": "b.slug", "tiers": "rq.tier", "error_counts": "rq.error_count"}
_OF_PATHS = {"generators": "p.generator", "labels": "l.judge_label"}


def frame(plan: SamplingPlan) -> str:
    """(unit, question_id, stratum) of every path the filter lets in; where whole questions are drawn, of every question
    that has such a path. The parameters are those of `conditions`."""
    stratum = " || ' / ' || ".join(_TRAITS[trait] for trait in plan.by) or f"'{WHOLE}'"
    if plan.whole_questions:
        return f"""SELECT rq.question_id AS unit, rq.question_id, {stratum} AS stratum
          FROM reasoning_runquestion rq JOIN questions_benchmark b ON b.id = rq.benchmark_id
          WHERE rq.run_id = %(run)s AND rq.reason <> 'question_invalid'{_where(plan.filter, _OF_QUESTIONS)}
            AND EXISTS (SELECT 1 FROM reasoning_pathlabel l JOIN reasoning_reasoningpath p
              ON p.id = l.path_id AND p.current AND p.origin IN ('generated', 'imported')
              WHERE l.run_id = %(run)s AND l.question_id = rq.question_id{_where(plan.filter, _OF_PATHS)})"""  # noqa: S608
    where, _ = conditions(plan.filter)
    return f"SELECT l.path_id AS unit, l.question_id, {stratum} AS stratum {PATHS}{where}"


def stratum_sizes(run: Run, plan: SamplingPlan) -> dict[str, int]:
    _, parameters = conditions(plan.filter)
    rows = fetch(f"SELECT stratum, count(*) FROM ({frame(plan)}) f GROUP BY stratum", {"run": run.pk, **parameters})  # noqa: S608
    return dict(rows)


def questions_of_paths(run: Run, path_ids: Sequence[int]) -> dict[int, int]:
    """The question of each path that a queue of the run may hold."""
    rows = fetch(f"SELECT l.path_id, l.question_id {PATHS} AND l.path_id = ANY(%(ids)s)", {"run": run.pk, "ids": list(path_ids)})  # fmt: skip
    return dict(rows)


def label_counts(run: Run, chosen: QueueFilter) -> list[tuple[int, int, int]]:
    """(Errors, Corrects, questions) by the judge, of questions that have a tier."""
    _, parameters = conditions(chosen)
    return fetch(
        f"SELECT errors, correct, count(*) FROM ({judged_questions(chosen)}) q GROUP BY errors, correct",  # noqa: S608
        {"run": run.pk, **parameters},
    )


def judged_questions(chosen: QueueFilter) -> str:
    """(question_id, errors, correct) by the judge, of questions that have a tier."""
    where, _ = conditions(chosen)
    return f"""SELECT l.question_id, count(*) FILTER (WHERE l.judge_label = 'error') AS errors,
      count(*) FILTER (WHERE l.judge_label = 'correct') AS correct {PATHS}{where} AND rq.tier <> '' GROUP BY l.question_id"""


def contradictions(chosen: QueueFilter) -> str:
    """(path_id, question_id, stratum): the judge says Correct and the answer is not the key; and one path of each
    question whose paths all agree on an answer that is not the key."""
    where, _ = conditions(chosen)
    return f"""SELECT DISTINCT ON (path_id) path_id, question_id, stratum FROM (
        SELECT l.path_id, l.question_id, 'judge against answer' AS stratum, 1 AS first {PATHS}{where} AND l.contradiction
        UNION ALL
        SELECT min(l.path_id), l.question_id, 'all paths against key', 2 {PATHS}{where}
          AND l.question_id = ANY(ARRAY({_AGREED_AGAINST_KEY})) GROUP BY l.question_id) found ORDER BY path_id, first"""  # noqa: S608


# an array: the few questions are found first, and only their paths are looked at
_AGREED_AGAINST_KEY = """SELECT rq.question_id FROM reasoning_runquestion rq JOIN questions_question q ON q.id = rq.question_id
  WHERE rq.run_id = %(run)s AND length(rq.answers) > 1 AND rq.answers = repeat(left(rq.answers, 1), length(rq.answers))
    AND left(rq.answers, 1) <> '-' AND left(rq.answers, 1) <> chr(65 + q.key)"""


def disagreements(chosen: QueueFilter) -> str:
    """(path_id, question_id, stratum) of paths on which two people's verdicts stand against each other and nobody
    adjudicated. Takes the parameter `project` too."""
    where, _ = conditions(chosen)
    return f"""SELECT l.path_id, l.question_id, 'reviewers disagree' AS stratum {PATHS}{where}
      AND l.source <> 'adjudication' AND l.path_id = ANY(ARRAY(
        SELECT v.path_id FROM reasoning_verdict v WHERE v.project_id = %(project)s AND v.reviewer_id IS NOT NULL
          AND v.source = 'person' AND v.current AND v.counts AND v.label <> 'unjudged'
        GROUP BY v.path_id HAVING count(DISTINCT v.label) > 1))"""  # noqa: S608


def conditions(chosen: QueueFilter) -> tuple[str, dict[str, Any]]:
    """What the filter adds to PATHS, and its parameters."""
    columns = _OF_QUESTIONS | _OF_PATHS
    return _where(chosen, columns), {name: list(values) for name in columns if (values := getattr(chosen, name))}


def _where(chosen: QueueFilter, columns: Mapping[str, str]) -> str:
    return "".join(f" AND {column} = ANY(%({name})s)" for name, column in columns.items() if getattr(chosen, name))


def fetch(sql: str, parameters: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
        return rows
