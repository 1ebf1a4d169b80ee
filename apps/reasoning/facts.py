"""Loads the facts of questions in a run, for `policy.assess`. Reads only the narrow columns, in seven statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from django.db import connection

from apps.questions.text import LETTERS
from apps.reasoning.models import Run
from apps.reasoning.policy.facts import PathFacts, PersonVerdict, Policy, QuestionFacts, TierName

_QUESTIONS = """
SELECT q.id, q.key, q.held_out, rq.hold, EXISTS (
  SELECT 1 FROM review_questionflag f WHERE f.question_id = q.id AND f.project_id = %s AND f.state <> 'revoked')
FROM questions_question q
JOIN reasoning_runquestion rq ON rq.question_id = q.id AND rq.run_id = %s WHERE q.id = ANY(%s)"""
_PATHS = """
SELECT question_id, id, origin, generator, sample, parent_id, revision, answer FROM reasoning_reasoningpath
WHERE question_id = ANY(%s)
  AND ((run_id = %s AND origin IN ('generated', 'imported') AND current) OR (run_id = %s AND origin IN ('refined', 'regenerated')))
ORDER BY id"""
_VERDICTS = """
SELECT path_id, source, label, reviewer_id, id FROM reasoning_verdict
WHERE path_id = ANY(%s) AND current
  AND ((source = 'judge' AND run_id = %s) OR (source <> 'judge' AND counts AND label <> 'unjudged' AND project_id = %s))
ORDER BY id"""
_SCORES = "SELECT path_id, score FROM reasoning_rankscore WHERE run_id = %s AND path_id = ANY(%s)"
_RESPONSES = """
SELECT path_id, max(revision), max(answer) FILTER (WHERE current) FROM reasoning_response
WHERE run_id = %s AND path_id = ANY(%s) GROUP BY path_id"""
_DECIDED = """
SELECT question_id, kind, tier, paths FROM review_recordoverride
WHERE run_id = %(run)s AND question_id = ANY(%(ids)s) AND current AND kind IN ('tier', 'choice')
UNION ALL SELECT question_id, 'excluded', '', ARRAY[path_id] FROM review_recorddecision
WHERE run_id = %(run)s AND question_id = ANY(%(ids)s) AND current AND decision = 'excluded'"""
_FAILURES = """
SELECT question_id, stage, item FROM pipeline_failure
WHERE run_id = %s AND question_id = ANY(%s) AND resolved_at IS NULL"""


def policy_of(run: Run) -> Policy:
    """The rules a run was frozen with."""
    imported = bool(run.config.get("imported")) or run.paths_from_id is not None
    return Policy.from_config(run.config, allow_held_out=run.allow_held_out, imported=imported)


def load_facts(run: Run, question_ids: Sequence[int]) -> dict[int, QuestionFacts]:
    """Facts by question id, for those of `question_ids` that are in the run."""
    ids = list(question_ids)
    with connection.cursor() as cursor:
        cursor.execute(_QUESTIONS, [run.project_id, run.pk, ids])
        facts = {
            pk: QuestionFacts(id=pk, key=LETTERS[key], held_out=held_out, hold=hold, invalid=invalid)
            for pk, key, held_out, hold, invalid in cursor.fetchall()
        }
        paths: dict[int, PathFacts] = {}
        owner: dict[int, QuestionFacts] = {}
        cursor.execute(_PATHS, [ids, run.paths_run_id, run.pk])
        for question, pk, origin, generator, sample, parent, revision, answer in cursor.fetchall():
            if question in facts:
                paths[pk] = PathFacts(pk, origin, generator, sample, parent, revision, answer)
                owner[pk] = facts[question]
                facts[question].paths.append(paths[pk])
        path_ids = list(paths)
        if path_ids:
            cursor.execute(_VERDICTS, [path_ids, run.pk, run.project_id])
            for pk, source, label, reviewer, order in cursor.fetchall():
                if source == "judge":
                    paths[pk].judge_label = label
                elif source == "adjudication":
                    paths[pk].adjudication = label
                else:
                    paths[pk].people.append(PersonVerdict(reviewer, label, order))
            cursor.execute(_SCORES, [run.pk, path_ids])
            for pk, score in cursor.fetchall():
                owner[pk].scores[pk] = score
            cursor.execute(_RESPONSES, [run.pk, path_ids])
            for pk, revision, answer in cursor.fetchall():
                owner[pk].revisions[pk] = revision
                if answer is not None:
                    owner[pk].responses[pk] = answer
        cursor.execute(_FAILURES, [run.pk, ids])
        for question, stage, item in cursor.fetchall():
            if question in facts:
                facts[question].failures.add((stage, item))
        cursor.execute(_DECIDED, {"run": run.pk, "ids": ids})
        for question, kind, tier, chosen in cursor.fetchall():
            if question in facts:
                _add_decision(facts[question], kind, tier, chosen)
    return facts


def _add_decision(facts: QuestionFacts, kind: str, tier: TierName | Literal[""], paths: Sequence[int]) -> None:
    if kind == "tier":
        facts.tier_by_person = tier or None
    elif kind == "choice":
        facts.chosen = tuple(paths)
    else:
        facts.excluded.update(paths)
