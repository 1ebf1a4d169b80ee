"""What a plan draws from: paths or questions of a run with their strata, read in chunks by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connection

from apps.reasoning.models import Run
from apps.review.queues.plans import WHOLE, QueueFilter, SamplingPlan

CHUNK = 20_000
_FROM = """
FROM reasoning_pathlabel l
JOIN reasoning_reasoningpath p ON p.id = l.path_id AND p.current AND p.origin IN ('generated', 'imported')
JOIN reasoning_runquestion rq ON rq.run_id = l.run_id AND rq.question_id = l.question_id AND rq.reason <> 'question_invalid'
JOIN questions_benchmark b ON b.id = rq.benchmark_id
WHERE l.run_id = %(run)s"""
_TRAITS = {
    "benchmark": "b.slug",
    "tier": "coalesce(nullif(rq.tier, ''), 'no tier')",
    "generator": "p.generator",
    "label": "coalesce(nullif(l.judge_label, ''), 'not judged')",
}


def path_frame(run: Run, plan: SamplingPlan) -> Iterator[tuple[int, str]]:
    """(path, stratum) of every path the filter lets in, by id."""
    yield from _frame(run, plan, "l.path_id")


def question_frame(run: Run, plan: SamplingPlan) -> Iterator[tuple[int, str]]:
    """(question, stratum) of every question that has a path the filter lets in, by id."""
    yield from _frame(run, plan, "l.question_id")


def paths_of_questions(run: Run, question_ids: Sequence[int]) -> dict[int, list[int]]:
    """Their current base paths, in the order of making; a question set aside has none here."""
    found: dict[int, list[int]] = {question: [] for question in question_ids}
    for question, path in _fetch(
        f"SELECT l.question_id, l.path_id {_FROM} AND l.question_id = ANY(%(ids)s) ORDER BY l.path_id",
        {"run": run.pk, "ids": list(question_ids)},
    ):
        found[question].append(path)
    return found


def questions_of_paths(run: Run, path_ids: Sequence[int]) -> dict[int, int]:
    """The question of each path that a queue of the run may hold."""
    rows = _fetch(
        f"SELECT l.path_id, l.question_id {_FROM} AND l.path_id = ANY(%(ids)s)", {"run": run.pk, "ids": list(path_ids)}
    )
    return dict(rows)


def contradicting_paths(run: Run, chosen: QueueFilter) -> list[tuple[int, str]]:
    """(path, why): the judge says Correct and the answer is not the key; and one path of each question whose paths all
    agree on an answer that is not the key."""
    where, parameters = _conditions(run, chosen)
    rows = _fetch(
        f"""
        SELECT l.path_id, 'judge against answer' {_FROM}{where} AND l.contradiction
        UNION ALL
        SELECT min(l.path_id), 'all paths against key' {_FROM}{where}
          AND rq.answers = repeat(left(rq.answers, 1), length(rq.answers)) AND length(rq.answers) > 1
          AND left(rq.answers, 1) NOT IN ('', '-')
          AND left(rq.answers, 1) <> (SELECT chr(65 + q.key) FROM questions_question q WHERE q.id = l.question_id)
        GROUP BY l.question_id""",  # noqa: S608
        parameters,
    )
    found: dict[int, str] = {}
    for path, why in rows:
        found.setdefault(path, why)
    return list(found.items())


def disagreeing_paths(run: Run, chosen: QueueFilter) -> list[int]:
    """Paths on which two people's verdicts stand against each other and nobody adjudicated."""
    where, parameters = _conditions(run, chosen)
    rows = _fetch(
        f"""
        SELECT l.path_id {_FROM}{where} AND l.source <> 'adjudication' AND (
          SELECT count(DISTINCT v.label) FROM reasoning_verdict v WHERE v.path_id = l.path_id AND v.project_id = %(project)s
            AND v.source = 'person' AND v.current AND v.counts AND v.label <> 'unjudged') > 1""",  # noqa: S608
        {**parameters, "project": run.project_id},
    )
    return [path for (path,) in rows]


def label_counts(run: Run, chosen: QueueFilter) -> list[tuple[int, int, int]]:
    """(question, Errors, Corrects) by the judge, of questions that have a tier."""
    where, parameters = _conditions(run, chosen)
    return _fetch(
        f"""
        SELECT l.question_id, count(*) FILTER (WHERE l.judge_label = 'error'),
          count(*) FILTER (WHERE l.judge_label = 'correct')
        {_FROM}{where} AND rq.tier <> '' GROUP BY l.question_id""",
        parameters,
    )


def _frame(run: Run, plan: SamplingPlan, unit: str) -> Iterator[tuple[int, str]]:
    where, parameters = _conditions(run, plan.filter)
    stratum = " || ' / ' || ".join(_TRAITS[trait] for trait in plan.by) or f"'{WHOLE}'"
    distinct = f"DISTINCT ON ({unit})" if unit != "l.path_id" else ""
    last = 0
    while True:
        rows = _fetch(
            f"SELECT {distinct} {unit}, {stratum} {_FROM}{where} AND {unit} > %(last)s ORDER BY {unit} LIMIT {CHUNK}",
            {**parameters, "last": last},
        )
        yield from rows
        if len(rows) < CHUNK:
            return
        last = rows[-1][0]


def _conditions(run: Run, chosen: QueueFilter) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {"run": run.pk}
    where = ""
    for name, column in (
        ("benchmarks", "b.slug"),
        ("tiers", "rq.tier"),
        ("generators", "p.generator"),
        ("labels", "l.judge_label"),
        ("error_counts", "rq.error_count"),
    ):
        if values := list(getattr(chosen, name)):
            where += f" AND {column} = ANY(%({name})s)"
            parameters[name] = values
    return where, parameters


def _fetch(sql: str, parameters: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
        return rows
