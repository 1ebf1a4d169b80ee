"""The one place that writes what lists and filters read: RunQuestion, PathLabel, Selection and the counters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import Run
from apps.reasoning.policy.assess import Assessment, assess
from apps.reasoning.policy.facts import QuestionFacts
from apps.reasoning.rows import int_array, json_rows

COUNTER_SHARDS = 8

# The columns of RunQuestion that an assessment sets, in the order of `row_of`.
COLUMNS = (
    "state",
    "reason",
    "pattern",
    "answers",
    "error_count",
    "tier",
    "contradictions",
    "overridden",
    "disputed",
    "records",
)
TIER = COLUMNS.index("tier")
LABEL_COLUMNS = ("label", "source", "judge_label", "contradiction", "overridden", "disputed")


def assess_questions(
    *, run: Run, question_ids: Sequence[int], locked: bool = False, counts: Counter[str] | None = None
) -> dict[int, Assessment]:
    """Recompute questions in the caller's transaction; returns the assessment of each.

    Locks the RunQuestion rows first, in order: every writer does, so that no two wait for each other. `locked`: the
    caller has. `counts`: takes the counters' change up, for a caller who writes it with others'.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("assess_questions belongs in the transaction of its cause")
    if not locked:
        lock_questions(run=run, question_ids=question_ids)
    facts = load_facts(run, question_ids)
    policy = policy_of(run)
    found = {pk: assess(f, policy) for pk, f in facts.items()}
    change = write_assessments(run=run, facts=facts, found=found)
    if counts is None:
        add_counters(run_id=run.pk, change=change)
    else:
        counts.update(change)
    return found


def lock_questions(*, run: Run, question_ids: Iterable[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM reasoning_runquestion WHERE run_id = %s AND question_id = ANY(%s::bigint[])"
            " ORDER BY question_id FOR NO KEY UPDATE",
            [run.pk, int_array(sorted(set(question_ids)))],
        )


def row_of(found: Assessment) -> tuple[Any, ...]:
    """What RunQuestion holds for an assessment, in the order of COLUMNS."""
    return (
        found.state,
        found.reason,
        found.pattern,
        found.answers,
        found.error_count,
        found.tier or "",
        found.contradictions,
        found.overridden,
        found.disputed,
        found.records,
    )


def labels_of(facts: QuestionFacts, found: Assessment) -> dict[int, tuple[Any, ...]]:
    """What PathLabel holds for each path, in the order of LABEL_COLUMNS."""
    return {
        p.id: (e.label, e.source, p.judge_label or "", e.contradiction, e.overridden, e.disputed)
        for p in facts.paths
        for e in (found.labels[p.id],)
    }


def counts_of(row: Sequence[Any], benchmark: int) -> Counter[str]:
    """What one RunQuestion row adds to the run's counters."""
    state, reason, _pattern, _answers, errors, tier, contradictions, overridden, disputed, records = row
    counts = Counter({f"state:{state}:{reason}": 1, f"benchmark:{benchmark}:{state}": 1})
    if tier:
        counts[f"tier:{tier}"] += 1
        counts[f"errors:{errors}"] += 1
    counts["contradictions"] += contradictions
    counts["overridden"] += bool(overridden)
    counts["disputed"] += bool(disputed)
    counts["records"] += records
    return counts


def cost_key(tier: str) -> str:
    """The counter of what questions of a tier cost; `none` before there is a tier."""
    return f"cost_e8:tier:{tier or 'none'}"


def in_e8(cost: Decimal) -> int:
    """Exact: costs have eight decimal places."""
    return int(cost * 100_000_000)


def write_assessments(*, run: Run, facts: Mapping[int, QuestionFacts], found: Mapping[int, Assessment]) -> Counter[str]:
    """Write what changed; returns the counters' difference."""
    change: Counter[str] = Counter()
    ids = list(found)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT question_id, benchmark_id, cost, {', '.join(COLUMNS)} FROM reasoning_runquestion"  # noqa: S608
            " WHERE run_id = %s AND question_id = ANY(%s::bigint[])",
            [run.pk, int_array(ids)],
        )
        changed = []
        for question, benchmark, cost, *old in cursor.fetchall():
            new = row_of(found[question])
            if tuple(old) != new:
                changed.append((question, *new))
                change.update({cost_key(new[TIER]): in_e8(cost)})
                change.subtract({cost_key(old[TIER]): in_e8(cost)})
                change.update(counts_of(new, benchmark))
                change.subtract(counts_of(old, benchmark))
        _update_questions(cursor, run, changed)
        change.update(_write_labels(cursor, run, facts, found))
        _write_selections(cursor, run, ids, found)
    return change


def _update_questions(cursor: Any, run: Run, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    cursor.execute(
        """
        UPDATE reasoning_runquestion r SET state = n.state, reason = n.reason, pattern = n.pattern, answers = n.answers,
          error_count = n.error_count, tier = n.tier, contradictions = n.contradictions, overridden = n.overridden,
          disputed = n.disputed, records = n.records, version = r.version + 1, changed_at = now()
        FROM json_to_recordset(%s::json)
          AS n(question_id bigint, state text, reason text, pattern text, answers text, error_count smallint, tier text,
               contradictions smallint, overridden bool, disputed bool, records smallint)
        WHERE r.run_id = %s AND r.question_id = n.question_id""",
        [json_rows(("question_id", *COLUMNS), rows), run.pk],
    )


def _write_labels(
    cursor: Any, run: Run, facts: Mapping[int, QuestionFacts], found: Mapping[int, Assessment]
) -> Counter[str]:
    """Insert or change PathLabel rows; returns the change of `labels:<label>` over base paths."""
    cursor.execute(
        f"SELECT path_id, {', '.join(LABEL_COLUMNS)} FROM reasoning_pathlabel"  # noqa: S608
        " WHERE run_id = %s AND question_id = ANY(%s::bigint[])",
        [run.pk, int_array(found)],
    )
    old = {path: tuple(values) for path, *values in cursor.fetchall()}
    base = {p.id for f in facts.values() for p in f.paths if p.is_base}
    change: Counter[str] = Counter()
    rows = []
    for question, assessment in found.items():
        for path, values in labels_of(facts[question], assessment).items():
            if old.get(path) == values:
                continue
            rows.append((path, question, *values))
            if path in base:
                change[f"labels:{values[0]}"] += 1
                if path in old:
                    change[f"labels:{old[path][0]}"] -= 1
    if rows:
        cursor.execute(
            """
            INSERT INTO reasoning_pathlabel
              (run_id, path_id, question_id, label, source, judge_label, contradiction, overridden, disputed)
            SELECT %s, * FROM json_to_recordset(%s::json)
              AS n(path_id bigint, question_id bigint, label text, source text, judge_label text, contradiction bool,
                   overridden bool, disputed bool)
            ON CONFLICT (run_id, path_id) DO UPDATE SET label = excluded.label, source = excluded.source,
              judge_label = excluded.judge_label, contradiction = excluded.contradiction,
              overridden = excluded.overridden, disputed = excluded.disputed""",
            [run.pk, json_rows(("path_id", "question_id", *LABEL_COLUMNS), rows)],
        )
    return change


def _write_selections(cursor: Any, run: Run, ids: Sequence[int], found: Mapping[int, Assessment]) -> None:
    """A choice that changed is a new row; the old one stays, no longer current."""
    cursor.execute(
        "SELECT id, question_id, slot, source_id, path_id, why FROM reasoning_selection"
        " WHERE run_id = %s AND question_id = ANY(%s::bigint[]) AND current",
        [run.pk, int_array(ids)],
    )
    old = {(question, slot): (pk, (source, path, why)) for pk, question, slot, source, path, why in cursor.fetchall()}
    new = {(q, c.slot): (c.source, c.path, c.why) for q, a in found.items() for c in a.choices}
    gone = [pk for place, (pk, values) in old.items() if new.get(place) != values]
    fresh = [(*place, *values) for place, values in new.items() if place not in old or old[place][1] != values]
    if gone:
        cursor.execute("UPDATE reasoning_selection SET current = false WHERE id = ANY(%s)", [gone])
    if fresh:
        cursor.execute(
            """
            INSERT INTO reasoning_selection (run_id, question_id, slot, source_id, path_id, why, current, created_at)
            SELECT %s, n.*, true, now()
            FROM json_to_recordset(%s::json) AS n(q bigint, slot smallint, source bigint, path bigint, why text)""",
            [run.pk, json_rows(("q", "slot", "source", "path", "why"), fresh)],
        )


def add_counters(*, run_id: int, change: Mapping[str, int]) -> None:
    """Add to the run's counters, on one shard. Call it last in a transaction: it locks rows others want."""
    keys = sorted(k for k, v in change.items() if v)
    if not keys:
        return
    shard = random.randrange(COUNTER_SHARDS)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO reasoning_runcounter (run_id, key, shard, value)
            SELECT %s, k, %s, v FROM unnest(%s::text[], %s::bigint[]) AS n(k, v) ORDER BY k
            ON CONFLICT (run_id, key, shard) DO UPDATE SET value = reasoning_runcounter.value + excluded.value""",
            [run_id, shard, keys, [change[k] for k in keys]],
        )
