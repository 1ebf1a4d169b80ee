"""Writes a pump's results: calls, outputs, the assessment they cause and the tasks they wake, in one transaction."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from apps.pipeline.budget import forget_unknown, settle
from apps.pipeline.lanes import DOWNSTREAM
from apps.pipeline.outputs import CallOut, FailureOut, Output, PathOut, ResponseOut, ScoreOut, VerdictOut
from apps.pipeline.services import want_work
from apps.reasoning.models import Run
from apps.reasoning.rows import int_array, json_rows
from apps.reasoning.services import add_counters, assess_questions, lock_questions

Row = Sequence[Any]


@dataclass(slots=True)
class Finished:
    """A leased task whose items are all settled. `retry_in`: given back, to be leased again in so many seconds; by the
    database's clock, since hosts do not agree on the time."""

    task: int
    seen: int
    retry_in: float | None = None
    error: str = ""
    patient: bool = False  # the return is nobody's failure: it does not count as an attempt


@dataclass(slots=True)
class Batch:
    """What a pump has to write for one run. Outputs come with the id of the call that made them."""

    run: Run
    calls: list[CallOut] = field(default_factory=list)
    outputs: list[tuple[Output, uuid.UUID]] = field(default_factory=list)
    failures: list[FailureOut] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    released: list[uuid.UUID] = field(default_factory=list)  # reservations of attempts that were not sent after all

    @property
    def rows(self) -> int:
        return len(self.calls) + len(self.outputs) + len(self.failures) + len(self.finished) + len(self.released)


def flush(batch: Batch, *, lane: str, lease: uuid.UUID, worker: str = "", again: bool = False) -> bool:
    """Write a batch. False when the pump lost its lease: then only the calls are written (they were paid).

    `worker`: under which name its calls are counted too. `again`: the connection was lost while the batch was written,
    and it may be there.
    """
    stage = lane.split("@")[0]
    questions = sorted({o.question for o, _ in batch.outputs} | {f.question for f in batch.failures})
    paid = {c.question for c in batch.calls if c.cost}
    with transaction.atomic(), connection.cursor() as cursor:
        lock_questions(run=batch.run, question_ids=paid.union(questions))
        cursor.execute("SELECT 1 FROM pipeline_pumplease WHERE id = %s AND expires_at > now() FOR SHARE", [lease])
        held = cursor.fetchone() is not None
        if again and _is_there(cursor, batch):
            return held
        change = forget_unknown(cursor, run_id=batch.run.pk, ids=[c.id for c in batch.calls if c.reserved])
        change.update(_write_calls(cursor, batch.calls))
        if worker:
            change[f"worker:{worker}"] = len(batch.calls)
        change.update(settle(cursor, run_id=batch.run.pk, calls=batch.calls, released=batch.released))
        if held:
            change.update(_write_outputs(cursor, batch.run, stage, batch.outputs))
            _write_failures(cursor, batch.run, batch.failures)
            if questions:
                found = assess_questions(run=batch.run, question_ids=questions, locked=True, counts=change)
                want_work(run=batch.run, found=found, stages=DOWNSTREAM[stage])
            _finish_tasks(cursor, lease, batch.finished)
        add_counters(run_id=batch.run.pk, change=change)
    return held


def _is_there(cursor: Any, batch: Batch) -> bool:
    """A batch is written whole or not at all, so one of its calls tells; finishing its tasks twice changes nothing."""
    if not batch.calls:
        return False
    cursor.execute("SELECT 1 FROM pipeline_call WHERE id = %s AND status <> 'unknown'", [batch.calls[0].id])
    return cursor.fetchone() is not None


def insert_rows(
    cursor: Any,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[Row],
    *,
    conflict: str = "ON CONFLICT DO NOTHING",
) -> int:
    """Insert rows in one statement; `columns` maps names to PostgreSQL types. Returns how many were new."""
    if not rows:
        return 0
    names, types = ", ".join(columns), ", ".join(f"{name} {kind}" for name, kind in columns.items())
    cursor.execute(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM json_to_recordset(%s::json) AS n({types}) {conflict}",  # noqa: S608
        [json_rows(columns, rows)],
    )
    return int(cursor.rowcount)


_CALL = {
    "id": "uuid", "run_id": "bigint", "question_id": "bigint", "stage": "text", "item": "text", "endpoint": "text",
    "model": "text", "prompt": "text", "params": "jsonb", "seed": "bigint", "attempt": "smallint", "status": "text",
    "error_class": "text", "error": "text", "excerpt": "text", "finish_reason": "text", "tokens_in": "int", "tokens_out": "int",
    "tokens_cached": "int", "cost": "numeric", "latency_ms": "int", "simulated": "bool", "fingerprint": "text",
    "created_at": "timestamptz",
}  # fmt: skip
_PATH = {
    "run_id": "bigint", "question_id": "bigint", "origin": "text", "generator": "text", "sample": "smallint",
    "parent_id": "bigint", "revision": "smallint", "current": "bool", "raw": "text", "text": "text", "answer": "text",
    "answer_how": "text", "finish_reason": "text", "model": "text", "temperature": "float8", "seed": "bigint",
    "call_id": "uuid", "created_at": "timestamptz",
}  # fmt: skip


def _write_calls(cursor: Any, calls: Sequence[CallOut]) -> Counter[str]:
    rows = [
        (
            c.id, c.run, c.question, c.stage, c.item, c.endpoint, c.model, c.prompt, c.params, c.seed,
            c.attempt, c.status, c.error_class, c.error[:500], c.excerpt, c.finish_reason[:20], c.tokens_in, c.tokens_out,
            c.tokens_cached, c.cost, c.latency_ms, c.simulated, c.fingerprint[:80], c.created_at,
        )
        for c in calls
    ]  # fmt: skip
    insert_rows(cursor, "pipeline_call", _CALL, rows)
    change: Counter[str] = Counter(calls=len(calls))
    for call in calls:
        change[f"calls:{call.stage}"] += 1
        change[f"calls:{call.stage}@{call.endpoint}"] += 1
        if call.error_class:
            change[f"failed:{call.error_class}"] += 1
    return change


def _write_outputs(cursor: Any, run: Run, stage: str, outputs: Sequence[tuple[Output, uuid.UUID]]) -> Counter[str]:
    """An output that is there already (written by another holder of the work) is left as it is."""
    paths = [(o, c) for o, c in outputs if isinstance(o, PathOut)]
    verdicts = [(o, c) for o, c in outputs if isinstance(o, VerdictOut)]
    scores = [(run.pk, o.path, o.score, o.justification, c) for o, c in outputs if isinstance(o, ScoreOut)]
    responses = [(o, c) for o, c in outputs if isinstance(o, ResponseOut)]
    change: Counter[str] = Counter()
    done = 0
    if paths:
        change = _write_paths(cursor, run, paths)
        done += sum(change.values())
    if verdicts:
        done += _write_verdicts(cursor, run, verdicts)
    if scores:
        cursor.execute(
            "INSERT INTO reasoning_rankscore (run_id, path_id, score, justification, call_id, created_at)"
            " SELECT n.*, now() FROM json_to_recordset(%s::json) AS n(r bigint, p bigint, s smallint, j text, c uuid)"
            " ON CONFLICT DO NOTHING",
            [json_rows("rpsjc", scores)],
        )
        done += cursor.rowcount
    if responses:
        cursor.execute(
            "INSERT INTO reasoning_response (run_id, path_id, revision, current, text, answer, call_id, created_at)"
            " SELECT %s, p, 1 + (SELECT count(*) FROM reasoning_response r WHERE r.run_id = %s AND r.path_id = p), true, t, a, c,"
            " now() FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::uuid[]) AS n(p, t, a, c) ON CONFLICT DO NOTHING",
            [
                run.pk,
                run.pk,
                [o.path for o, _ in responses],
                [o.text for o, _ in responses],
                [o.answer for o, _ in responses],
                [c for _, c in responses],
            ],
        )
        done += cursor.rowcount
    change[f"stage:{stage}"] += done
    return change


def _write_paths(cursor: Any, run: Run, paths: Sequence[tuple[PathOut, uuid.UUID]]) -> Counter[str]:
    for out, _ in paths:
        if out.revision > 1:
            cursor.execute(
                "UPDATE reasoning_reasoningpath SET current = false WHERE run_id = %s AND question_id = %s AND origin = %s"
                " AND generator = %s AND sample = %s AND current AND revision < %s",
                [run.pk, out.question, out.origin, out.generator, out.sample, out.revision],
            )
    change: Counter[str] = Counter()
    by_origin: dict[str, list[Row]] = {}
    for o, call in paths:
        by_origin.setdefault(o.origin, []).append(
            (
                run.pk, o.question, o.origin, o.generator, o.sample, o.parent, o.revision, True, o.raw, o.text, o.answer,
                o.answer_how, o.finish_reason[:20], o.model[:200], o.temperature, o.seed, call, _NOW,
            )
        )  # fmt: skip
    for origin, rows in by_origin.items():
        change[f"paths:{origin}"] += insert_rows(cursor, "reasoning_reasoningpath", _PATH, rows)
    return change


_NOW = "now"  # PostgreSQL reads it as the transaction's time


def _write_verdicts(cursor: Any, run: Run, verdicts: Sequence[tuple[VerdictOut, uuid.UUID]]) -> int:
    rows = [(o.path, o.label, o.correctness, o.coherence, o.factuality, o.reason, call) for o, call in verdicts]
    cursor.execute(
        "UPDATE reasoning_verdict SET current = false"
        " WHERE run_id = %s AND path_id = ANY(%s::bigint[]) AND source = 'judge' AND current AND label = 'unjudged'",
        [run.pk, int_array(o.path for o, _ in verdicts)],
    )
    cursor.execute(
        """
        INSERT INTO reasoning_verdict (path_id, run_id, source, round, label, correctness, coherence, factuality, reason,
                                       details, counts, current, call_id, created_at)
        SELECT p, %s, 'judge',
               1 + (SELECT count(*) FROM reasoning_verdict v WHERE v.path_id = p AND v.run_id = %s AND v.source = 'judge'),
               l, a1, a2, a3, reason, '{}', true, true, c, now()
        FROM json_to_recordset(%s::json)
          AS n(p bigint, l text, a1 bool, a2 bool, a3 bool, reason text, c uuid)
        ON CONFLICT DO NOTHING""",
        [run.pk, run.pk, json_rows(("p", "l", "a1", "a2", "a3", "reason", "c"), rows)],
    )
    return int(cursor.rowcount)


def _write_failures(cursor: Any, run: Run, failures: Iterable[FailureOut]) -> None:
    rows = [(run.pk, f.question, f.stage, f.item, f.error_class, f.message[:500], f.call, _NOW) for f in failures]
    columns = {
        "run_id": "bigint", "question_id": "bigint", "stage": "text", "item": "text", "error_class": "text",
        "message": "text", "call_id": "uuid", "created_at": "timestamptz",
    }  # fmt: skip
    insert_rows(cursor, "pipeline_failure", columns, rows)


def _finish_tasks(cursor: Any, lease: uuid.UUID, finished: Sequence[Finished]) -> None:
    """Compare and set: idle only if nothing was wanted since the lease, else ready again."""
    if not finished:
        return
    ordered = sorted(finished, key=lambda f: f.task)
    rows = [(f.task, f.seen, f.retry_in, f.error[:300], f.patient) for f in ordered]
    cursor.execute(
        """
        UPDATE pipeline_task t SET lease_id = NULL, not_before = now() + n.retry_in * interval '1 second', last_error = n.error,
          attempts = CASE WHEN n.retry_in IS NULL THEN 0 WHEN n.patient THEN t.attempts ELSE t.attempts + 1 END,
          state = CASE WHEN n.retry_in IS NULL AND t.wanted = n.seen THEN 'idle' ELSE 'ready' END
        FROM json_to_recordset(%s::json) AS n(id bigint, seen bigint, retry_in float8, error text, patient bool)
        WHERE t.id = n.id AND t.lease_id = %s""",
        [json_rows(("id", "seen", "retry_in", "error", "patient"), rows), lease],
    )
