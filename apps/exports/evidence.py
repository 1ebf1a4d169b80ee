"""The statements behind a page of an export, a fixed number whatever its size; each walks indexes by arrays of ids.

What only has to be known as a list is put together by the database: of a question's nine paths with their verdicts,
scores and calls come one list of verdicts and one of stages. OFFSET 0 keeps the calls of a page together: one by one by
their ids, or held in between, they take PostgreSQL longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import orjson
from django.db import connection

from apps.exports.rows import (
    BenchmarkRow,
    CallKind,
    ChosenRow,
    PathRow,
    QuestionRow,
    ResponseRow,
    RunQuestionRow,
    ScoreRow,
    TierRow,
    VerdictRow,
)
from apps.reasoning.models import Run

_PAGE = """
SELECT rq.run_id, rq.question_id, rq.state, rq.reason, rq.tier, rq.error_count, rq.overridden, rq.records, rq.version,
  q.id, q.uid, q.split, q.held_out, q.contexts, q.stem, q.options, q.key, q.fingerprint, q.stem_fingerprint, q.canonical_id,
  b.slug, b.name, b.licence
FROM reasoning_runquestion rq
JOIN questions_question q ON q.id = rq.question_id
JOIN questions_benchmark b ON b.id = q.benchmark_id
WHERE rq.run_id = %(run)s AND rq.question_id > %(after)s AND rq.question_id <= %(upto)s
  AND q.id > %(after)s AND q.id <= %(upto)s
ORDER BY rq.question_id"""  # the bounds are said of both: PostgreSQL would merge the questions from the first one on

_IDS = """
SELECT question_id FROM reasoning_runquestion WHERE run_id = %(run)s AND question_id > %(after)s
ORDER BY question_id LIMIT %(size)s"""

_PATH = (
    "{0}.id, {0}.run_id, {0}.origin, {0}.generator, {0}.sample, {0}.parent_id, {0}.revision, {0}.current, {0}.model,"
    " {0}.temperature, {0}.seed, {0}.call_id::text, {0}.answer, {0}.finish_reason, {0}.author_id"
)
_CHOSEN = f"""
SELECT s.question_id, s.slot, s.why, l.label, l.disputed, d.decision, d.content_hash, d.by_id,
  {_PATH.format("p")}, p.text, {_PATH.format("o")}, '',
  r.id, r.revision, r.answer, r.text, r.author_id, r.call_id::text, k.score, k.call_id::text
FROM reasoning_selection s
LEFT JOIN reasoning_reasoningpath p ON p.id = s.path_id AND p.question_id = s.question_id
LEFT JOIN reasoning_reasoningpath o ON o.id = CASE WHEN s.source_id <> s.path_id THEN s.source_id END
  AND o.question_id = s.question_id
LEFT JOIN reasoning_pathlabel l ON l.run_id = s.run_id AND l.path_id = s.path_id
LEFT JOIN reasoning_response r ON r.run_id = s.run_id AND r.path_id = s.path_id AND r.current
LEFT JOIN reasoning_rankscore k ON k.run_id = s.run_id AND k.path_id = s.source_id
LEFT JOIN review_recorddecision d ON d.run_id = s.run_id AND d.path_id = s.path_id AND d.current
WHERE s.run_id = %(run)s AND s.question_id = ANY(%(questions)s::bigint[]) AND s.current
ORDER BY s.question_id, s.slot"""  # noqa: S608

_REWRITTEN = f"""
SELECT p.question_id, {_PATH.format("p")}, '' FROM reasoning_reasoningpath p
WHERE p.question_id = ANY(%(questions)s::bigint[]) AND p.run_id = %(run)s AND p.origin IN ('refined', 'regenerated')"""  # noqa: S608

_COUNTS = """current AND ((source = 'judge' AND run_id = %(run)s)
    OR (source <> 'judge' AND counts AND label <> 'unjudged' AND project_id = %(project)s))"""
_VERDICTS = f"""
SELECT id, path_id, label, source, reviewer_id, call_id::text FROM reasoning_verdict
WHERE path_id = ANY(%(paths)s::bigint[]) AND {_COUNTS} ORDER BY id"""  # noqa: S608

_TIER = f"""
WITH base AS MATERIALIZED (
  SELECT id, question_id, call_id FROM reasoning_reasoningpath
  WHERE question_id = ANY(%(questions)s::bigint[]) AND run_id = %(paths_run)s AND origin IN ('generated', 'imported') AND current
), verdict AS MATERIALIZED (
  SELECT id, path_id, call_id FROM reasoning_verdict WHERE path_id = ANY(ARRAY(SELECT id FROM base)) AND {_COUNTS}
), used AS (
  SELECT call_id FROM base UNION ALL SELECT call_id FROM verdict UNION ALL
  SELECT call_id FROM reasoning_rankscore WHERE run_id = %(run)s AND path_id = ANY(ARRAY(SELECT id FROM base))
), tier AS (
  SELECT b.question_id, array_agg(v.id ORDER BY b.id, v.id) AS verdicts FROM base b JOIN verdict v ON v.path_id = b.id GROUP BY 1
), stages AS (
  SELECT question_id, array_agg(stage) AS simulated FROM (
    SELECT DISTINCT s.question_id, s.stage FROM used u JOIN (
      SELECT id, question_id, stage FROM pipeline_call
      WHERE run_id = ANY(%(runs)s::bigint[]) AND question_id = ANY(%(questions)s::bigint[]) AND simulated OFFSET 0
    ) s ON s.id = u.call_id) d GROUP BY 1
)
SELECT question_id, tier.verdicts, stages.simulated FROM tier FULL JOIN stages USING (question_id)"""  # noqa: S608

_CALLS = """
SELECT run_id, stage, endpoint, model, prompt, simulated, string_agg(id::text, ',')
FROM pipeline_call WHERE id = ANY(%(calls)s::uuid[]) GROUP BY 1, 2, 3, 4, 5, 6"""

_SLOT = ChosenRow._fields.index("path")  # where the columns of the rows within a chosen one begin
_SOURCE = _SLOT + len(PathRow._fields)
_SAID = _SOURCE + len(PathRow._fields)
_SCORE = _SAID + len(ResponseRow._fields)


class Evidence:
    """Reads what stands behind questions of one run."""

    def __init__(self, run: Run) -> None:
        self._run = {"run": run.pk, "paths_run": run.paths_run_id, "project": run.project_id}
        self._run_ids = {run.pk, run.paths_run_id}

    def ids(self, *, after: int, size: int) -> list[int]:
        """The next questions of the run."""
        return [pk for (pk,) in self._read(_IDS, after=after, size=size)]

    def page(self, *, after: int, upto: int) -> list[tuple[RunQuestionRow, QuestionRow]]:
        return [(RunQuestionRow(*row[:9]), _question(row[9:])) for row in self._read(_PAGE, after=after, upto=upto)]

    def chosen(self, question_ids: Collection[int]) -> defaultdict[int, list[ChosenRow]]:
        """What each question keeps, by slot."""
        found: defaultdict[int, list[ChosenRow]] = defaultdict(list)
        for row in self._read(_CHOSEN, questions=_array(question_ids)):
            found[row[0]].append(_chosen(row))
        return found

    def rewritten(self, question_ids: Collection[int]) -> defaultdict[int, list[PathRow]]:
        """All that this run made of a question's paths, replaced attempts too; without texts."""
        found: defaultdict[int, list[PathRow]] = defaultdict(list)
        for question_id, *path in self._read(_REWRITTEN, questions=_array(question_ids)) if question_ids else ():
            found[question_id].append(PathRow(*path))
        return found

    def verdicts(self, path_ids: Collection[int]) -> defaultdict[int, list[VerdictRow]]:
        """Current verdicts that count, by path, each path's in the order in which they were given."""
        found: defaultdict[int, list[VerdictRow]] = defaultdict(list)
        for row in self._read(_VERDICTS, paths=_array(path_ids)):
            found[row[1]].append(VerdictRow(*row))
        return found

    def tiers(self, question_ids: Collection[int]) -> dict[int, TierRow]:
        found = self._read(_TIER, questions=_array(question_ids), runs=_array(self._run_ids))
        return {question: TierRow(verdicts or [], stages or []) for question, verdicts, stages in found}

    def calls(self, ids: Collection[str]) -> dict[str, CallKind]:
        found = {}
        for *kind, made in self._read(_CALLS, calls=_array(ids)):
            found.update(dict.fromkeys(made.split(","), CallKind(*kind)))
        return found

    def _read(self, statement: str, **values: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, {**self._run, **values})
            return list(cursor.fetchall())


def _question(row: Any) -> QuestionRow:
    pk, uid, split, held_out, contexts, stem, options, key, *rest = row
    fingerprint, stem_fingerprint, canonical, *benchmark = rest
    return QuestionRow(
        pk, uid, split, held_out, orjson.loads(contexts), stem, orjson.loads(options), key, fingerprint, stem_fingerprint,
        canonical, BenchmarkRow(*benchmark),
    )  # fmt: skip


def _chosen(row: Any) -> ChosenRow:
    """An outer join that found nothing leaves the columns of its row empty, its id first."""
    question_id, slot, why, label, disputed, decision, content, by = row[:_SLOT]
    path = PathRow(*row[_SLOT:_SOURCE]) if row[_SLOT] is not None else None
    source = PathRow(*row[_SOURCE:_SAID]) if row[_SOURCE] is not None else None
    response = ResponseRow(*row[_SAID:_SCORE]) if row[_SAID] is not None else None
    score = ScoreRow(*row[_SCORE:]) if row[_SCORE] is not None else None
    return ChosenRow(question_id, slot, why, label, disputed, decision, content, by, path, source, response, score)


def _array(values: Iterable[int | str]) -> str:
    """As PostgreSQL writes an array of ids; psycopg would look at each of the thousands for what to quote."""
    return f"{{{','.join(map(str, values))}}}"
