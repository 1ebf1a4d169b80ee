"""Floors of an export: bare server-side cursors that write the same lines, hash nothing, check nothing and keep nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
from django.db import connection, transaction

from apps.exports.provenance import pseudonym
from apps.exports.records import VARIANTS
from apps.questions.text import join_question
from apps.reasoning.models import Run

SETS = """
SELECT q.contexts, q.stem, q.options, p.text, r.text FROM reasoning_runquestion rq
JOIN questions_question q ON q.id = rq.question_id
JOIN reasoning_selection s ON s.run_id = rq.run_id AND s.question_id = rq.question_id AND s.current
JOIN reasoning_reasoningpath p ON p.id = s.path_id
JOIN reasoning_response r ON r.run_id = s.run_id AND r.path_id = p.id AND r.current
WHERE rq.run_id = %(run)s AND rq.state = 'ready' ORDER BY rq.question_id, s.slot"""
_COUNTS = """v.current AND ((v.source = 'judge' AND v.run_id = %(run)s)
  OR (v.source <> 'judge' AND v.counts AND v.label <> 'unjudged' AND v.project_id = %(project)s))"""
_PATH = """{0}.id, {0}.origin, {0}.generator, {0}.sample, {0}.revision, {0}.model, {0}.temperature, {0}.seed,
  {0}.author_id, {0}.call_id::text"""
_CALL = "{0}.prompt, CASE WHEN {0}.simulated THEN {0}.stage END"
# No path of these runs was rewritten twice and nobody signed a record off, so nothing is asked for that.
TRAIL = f"""
SELECT q.contexts, q.stem, q.options, p.text, r.text,
  q.uid, b.slug, q.split, q.held_out, rq.tier, rq.error_count, s.slot, s.why, t.verdicts, z.stages, w.verdicts, k.score,
  k.call_id::text, {_CALL.format("kc")}, r.id, r.revision, r.author_id, r.call_id::text, {_CALL.format("rc")},
  {_PATH.format("p")}, {_CALL.format("pc")}, {_PATH.format("o")}, {_CALL.format("oc")}
FROM reasoning_runquestion rq
JOIN questions_question q ON q.id = rq.question_id
JOIN questions_benchmark b ON b.id = q.benchmark_id
LEFT JOIN LATERAL (
  SELECT array_agg(v.id ORDER BY a.id, v.id) FILTER (WHERE v.id IS NOT NULL) AS verdicts,
    array_agg(a.call_id) || array_agg(v.call_id) || array_agg(n.call_id) AS calls
  FROM reasoning_reasoningpath a LEFT JOIN reasoning_verdict v ON v.path_id = a.id AND {_COUNTS}
  LEFT JOIN reasoning_rankscore n ON n.run_id = %(run)s AND n.path_id = a.id
  WHERE a.question_id = rq.question_id AND a.run_id = %(paths_run)s AND a.origin IN ('generated', 'imported') AND a.current
) t ON true
LEFT JOIN LATERAL (
  SELECT array_agg(DISTINCT c.stage) AS stages FROM pipeline_call c
  WHERE c.question_id = rq.question_id AND c.run_id IN (%(run)s, %(paths_run)s) AND c.simulated AND c.id = ANY(t.calls)
) z ON true
JOIN reasoning_selection s ON s.run_id = rq.run_id AND s.question_id = rq.question_id AND s.current
JOIN reasoning_reasoningpath p ON p.id = s.path_id
LEFT JOIN reasoning_reasoningpath o ON o.id = s.source_id AND s.source_id <> s.path_id
JOIN reasoning_response r ON r.run_id = s.run_id AND r.path_id = p.id AND r.current
LEFT JOIN reasoning_rankscore k ON k.run_id = s.run_id AND k.path_id = s.source_id
LEFT JOIN pipeline_call pc ON pc.id = p.call_id
LEFT JOIN pipeline_call oc ON oc.id = o.call_id
LEFT JOIN pipeline_call kc ON kc.id = k.call_id
LEFT JOIN pipeline_call rc ON rc.id = r.call_id
LEFT JOIN LATERAL (
  SELECT json_agg(json_build_array(v.id, v.path_id, v.label, v.source, v.reviewer_id, v.call_id, {_CALL.format("c")})
    ORDER BY v.path_id <> p.id, v.id)::text AS verdicts
  FROM reasoning_verdict v LEFT JOIN pipeline_call c ON c.id = v.call_id
  WHERE v.path_id IN (p.id, o.id) AND {_COUNTS}
) w ON true
WHERE rq.run_id = %(run)s AND rq.state = 'ready' ORDER BY rq.question_id, s.slot"""


def write_sets(run: Run, out: Path) -> int:
    """The lines of the three sets. Returns the records of one."""
    records = 0
    with _opened(out, VARIANTS) as (files, stack):
        for contexts, stem, options, cot, response in _rows(stack, SETS, run):
            _write_record(files, contexts, stem, options, cot, response)
            records += 1
    return records


def write_sets_and_trail(run: Run, out: Path) -> int:
    """The same, and the lines that say where each record came from: all that an export writes of records."""
    records = 0
    with _opened(out, (*VARIANTS, "provenance")) as (files, stack):
        for contexts, stem, options, cot, response, *behind in _rows(stack, TRAIL, run):
            _write_record(files[:-1], contexts, stem, options, cot, response)
            files[-1].write(orjson.dumps(_provenance(records, behind)) + b"\n")
            records += 1
    return records


@contextmanager
def _opened(out: Path, names: Iterable[str]) -> Iterator[tuple[list[IO[bytes]], ExitStack]]:
    with transaction.atomic(), ExitStack() as stack:
        yield [stack.enter_context((out / f"floor-{n}.jsonl").open("wb", buffering=1 << 20)) for n in names], stack


def _rows(stack: ExitStack, statement: str, run: Run) -> Iterator[tuple[Any, ...]]:
    connection.ensure_connection()
    cursor = stack.enter_context(connection.connection.cursor(name="floor"))
    cursor.itersize = 2_000
    cursor.execute(statement, {"run": run.pk, "paths_run": run.paths_run_id, "project": run.project_id})
    yield from cursor


def _write_record(files: list[IO[bytes]], contexts: str, stem: str, options: str, cot: str, response: str) -> None:
    instruction = join_question(orjson.loads(contexts), stem, orjson.loads(options))
    for file, output in zip(files, (f"<think>{cot}</think>{response}", cot, response), strict=True):
        file.write(orjson.dumps({"instruction": instruction, "input": "", "output": output}) + b"\n")


def _provenance(number: int, row: list[Any]) -> dict[str, Any]:
    uid, benchmark, split, held_out, tier, errors, slot, why, tier_verdicts, stages, said, score, *row = row
    ranked, said_by, path, source = row[:3], row[3:9], row[9:21], row[21:]
    response, revision, author, responded, prompt, stage = said_by
    verdicts = orjson.loads(said or b"[]")
    calls = [path[9], *([source[9]] if source[0] else ()), *(v[5] for v in verdicts), ranked[0], responded]
    seen = {*(stages or ()), path[11], source[11], ranked[2], stage, *(v[7] for v in verdicts)}
    return {
        "record": number, "question": uid, "benchmark": benchmark, "split": split, "held_out": held_out, "tier": tier,
        "errors": errors, "slot": slot, "why": why, "path": _path(path), "parent": _path(source) if source[0] else None,
        "score": score, "response": {"id": response, "revision": revision, "by": _who(author), "call": responded, "prompt": prompt},
        "signed_off": None,
        "verdicts": [
            {"id": v[0], "path": v[1], "label": v[2], "source": v[3], "by": _who(v[4]), "call": v[5], "prompt": v[6]}
            for v in verdicts
        ],
        "tier_verdicts": tier_verdicts or [], "calls": list(dict.fromkeys(c for c in calls if c)),
        "simulated": sorted(seen - {None}),
    }  # fmt: skip


def _path(row: list[Any]) -> dict[str, Any]:
    pk, origin, generator, sample, revision, model, temperature, seed, author, call, prompt, _stage = row
    return {
        "id": pk, "origin": origin, "generator": generator, "sample": sample, "revision": revision, "model": model,
        "temperature": temperature, "seed": seed, "by": _who(author), "call": call, "prompt": prompt,
    }  # fmt: skip


def _who(person: int | None) -> str | None:
    return pseudonym(person) if person else None
