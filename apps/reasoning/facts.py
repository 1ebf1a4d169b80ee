"""Loads the facts of questions in a run, for `policy.assess`. Reads only the narrow columns, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from django.db import connection

from apps.questions.text import LETTERS
from apps.reasoning.models import Run
from apps.reasoning.policy.facts import LabelName, PathFacts, PersonVerdict, Policy, QuestionFacts, TierName
from apps.reasoning.rows import int_array

# One statement, because it is asked twice with each save: every kind of row in the same eleven columns. The ids of the
# paths come as an array, so that each table is read by its index however many questions are asked for.
_FACTS = """
WITH paths AS MATERIALIZED (
  SELECT question_id, id, origin, generator, answer, sample, parent_id, revision FROM reasoning_reasoningpath
  WHERE question_id = ANY(%(ids)s::bigint[])
    AND ((run_id = %(paths_run)s AND origin IN ('generated', 'imported') AND current)
         OR (run_id = %(run)s AND origin IN ('refined', 'regenerated'))))
SELECT 1 AS kind, q.id AS owner, q.key::bigint AS place, NULL::text AS a, NULL::text AS b, NULL::text AS c,
  NULL::bigint AS n, NULL::bigint AS m, rq.hold AS x, q.held_out AS y, ARRAY(
    SELECT f.id FROM review_questionflag f WHERE f.question_id = q.id AND f.project_id = %(project)s AND f.state <> 'revoked')
  FROM questions_question q
  JOIN reasoning_runquestion rq ON rq.question_id = q.id AND rq.run_id = %(run)s WHERE q.id = ANY(%(ids)s::bigint[])
UNION ALL
SELECT 2, question_id, id, origin, generator, answer, sample, parent_id, NULL, NULL, ARRAY[revision::bigint] FROM paths
UNION ALL
SELECT 3, path_id, id, source, label, NULL, reviewer_id, NULL, NULL, NULL, NULL FROM reasoning_verdict
  WHERE path_id = ANY(ARRAY(SELECT id FROM paths)) AND current
    AND ((source = 'judge' AND run_id = %(run)s)
         OR (source <> 'judge' AND counts AND label <> 'unjudged' AND project_id = %(project)s))
UNION ALL
SELECT 4, path_id, score, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM reasoning_rankscore
  WHERE run_id = %(run)s AND path_id = ANY(ARRAY(SELECT id FROM paths))
UNION ALL
SELECT 5, path_id, max(revision), max(answer) FILTER (WHERE current), NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM reasoning_response WHERE run_id = %(run)s AND path_id = ANY(ARRAY(SELECT id FROM paths)) GROUP BY path_id
UNION ALL
SELECT 6, question_id, 0, stage, item, NULL, NULL, NULL, NULL, NULL, NULL FROM pipeline_failure
  WHERE run_id = %(run)s AND question_id = ANY(%(ids)s::bigint[]) AND resolved_at IS NULL
UNION ALL
SELECT 7, question_id, 0, kind, tier, NULL, NULL, NULL, NULL, NULL, paths FROM review_recordoverride
  WHERE run_id = %(run)s AND question_id = ANY(%(ids)s::bigint[]) AND current AND kind IN ('tier', 'choice')
UNION ALL
SELECT 7, question_id, 0, 'excluded', '', NULL, NULL, NULL, NULL, NULL, ARRAY[path_id] FROM review_recorddecision
  WHERE run_id = %(run)s AND question_id = ANY(%(ids)s::bigint[]) AND current AND decision = 'excluded'
ORDER BY kind, place"""


def policy_of(run: Run) -> Policy:
    """The rules a run was frozen with."""
    imported = bool(run.config.get("imported")) or run.paths_from_id is not None
    return Policy.from_config(run.config, allow_held_out=run.allow_held_out, imported=imported)


def load_facts(run: Run, question_ids: Sequence[int]) -> dict[int, QuestionFacts]:
    """Facts by question id, for those of `question_ids` that are in the run."""
    asked: dict[str, Any] = {
        "ids": int_array(question_ids),
        "run": run.pk,
        "paths_run": run.paths_run_id,
        "project": run.project_id,
    }
    facts: dict[int, QuestionFacts] = {}
    paths: dict[int, PathFacts] = {}
    owners: dict[int, QuestionFacts] = {}  # by path
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, asked)
        for kind, owner, place, a, b, c, n, m, x, y, ids in cursor.fetchall():
            if kind == 1:
                facts[owner] = QuestionFacts(id=owner, key=LETTERS[place], held_out=y, hold=x, invalid=bool(ids))
            elif kind == 2 and owner in facts:
                paths[place] = PathFacts(place, a, b, n, m, ids[0], c)
                owners[place] = facts[owner]
                facts[owner].paths.append(paths[place])
            elif kind == 3 and owner in paths:
                _add_verdict(paths[owner], a, b, n, place)
            elif kind == 4 and owner in owners:
                owners[owner].scores[owner] = place
            elif kind == 5 and owner in owners:
                _add_response(owners[owner], owner, place, a)
            elif kind == 6 and owner in facts:
                facts[owner].failures.add((a, b))
            elif kind == 7 and owner in facts:
                _add_decision(facts[owner], a, b, ids)
    return facts


def _add_verdict(path: PathFacts, source: str, label: LabelName, reviewer: int, order: int) -> None:
    if source == "judge":
        path.judge_label = label
    elif source == "adjudication":
        path.adjudication = label
    else:
        path.people.append(PersonVerdict(reviewer, label, order))


def _add_response(facts: QuestionFacts, path_id: int, revision: int, answer: str | None) -> None:
    facts.revisions[path_id] = revision
    if answer is not None:
        facts.responses[path_id] = answer


def _add_decision(facts: QuestionFacts, kind: str, tier: TierName | Literal[""], paths: Sequence[int]) -> None:
    if kind == "tier":
        facts.tier_by_person = tier or None
    elif kind == "choice":
        facts.chosen = tuple(paths)
    else:
        facts.excluded.update(paths)
