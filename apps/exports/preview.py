"""What an export of a run would hold if it were built now: the choices of `sieves`, as one statement over narrow rows.

Quality gates and contamination look at texts, which a page cannot wait for: what they leave out, the candidate tells.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Sum

from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.sieves import (
    BY_PEOPLE,
    DUPLICATE,
    NOT_BY_PEOPLE,
    NOT_CHOSEN_BENCHMARK,
    NOT_CHOSEN_TIER,
    OPEN_SOURCE,
)
from apps.exports.tally import HELD_OUT
from apps.questions.models import Benchmark, Question
from apps.reasoning.models import QuestionState, Run, Tier
from apps.reasoning.selectors import counters_mark
from apps.review.records.signoff import SignOff, refusal, sign_offs

KEPT_S = 60


@dataclass(slots=True)
class PreviewRow:
    benchmark: str
    questions: int = 0
    ready: int = 0
    records: int = 0
    tiers: Counter[str] = field(default_factory=Counter)  # ready questions by tier

    @property
    def tier_counts(self) -> list[int]:
        return [self.tiers[tier] for tier in Tier.values]


@dataclass(slots=True)
class Preview:
    """Waiting + excluded + ready = questions; records + records left out = what the ready questions keep."""

    rows: dict[str, PreviewRow] = field(default_factory=dict)
    tier_records: Counter[str] = field(default_factory=Counter)
    sign_offs: list[SignOff] = field(default_factory=list)  # of the tiers for which the run asks for it
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)  # (state, reason) → questions
    records_left_out: Counter[str] = field(default_factory=Counter)  # reason → records of ready questions
    more_to_come: bool = False  # gates or contamination will leave out more

    @property
    def questions(self) -> int:
        return sum(row.questions for row in self.rows.values())

    @property
    def ready(self) -> int:
        return sum(row.ready for row in self.rows.values())

    @property
    def records(self) -> int:
        return sum(row.records for row in self.rows.values())

    @property
    def kept(self) -> int:
        """Records that the ready questions keep, those left out among them."""
        return self.records + self.records_left_out.total()

    @property
    def tier_counts(self) -> list[int]:
        return [sum(row.tiers[tier] for row in self.rows.values()) for tier in Tier.values]

    @property
    def refusal(self) -> str:
        """Why an export would be refused now; "" where it would not."""
        return refusal(self.sign_offs)

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """Excluded first, then waiting, most first."""
        return sorted(
            ((s, r, n) for (s, r), n in self.left_out.items()),
            key=lambda x: (x[0] != QuestionState.EXCLUDED, -x[2], x[1]),
        )


def preview_export(run: Run, config: ExportConfig = DEFAULT) -> Preview:
    """One statement. Wide tables are touched only for held-out questions, duplicates and labels, where they matter."""
    names = dict(Benchmark.objects.values_list("pk", "name"))
    required = run.config.get("sign_off") or {}
    signed: Counter[str] = Counter()
    excludes = "exclude" in (config.contamination.policy, config.contamination.within, *config.gates.values())
    preview = Preview(more_to_come=excludes)
    partly = NOT_BY_PEOPLE if config.labels == "clinician" else BY_PEOPLE
    for benchmark, state, reason, tier, questions, records, stay, accepted in _counted(run, config, bool(required)):
        row = preview.rows.setdefault(names[benchmark], PreviewRow(names[benchmark]))
        row.questions += questions
        if state != QuestionState.READY:
            preview.left_out[state, reason] += questions
            continue
        row.ready += questions
        row.records += stay
        row.tiers[tier] += questions
        preview.tier_records[tier] += stay
        signed[tier] += accepted
        if records != stay:
            preview.records_left_out[partly] += records - stay
    preview.rows = dict(sorted(preview.rows.items()))
    preview.sign_offs = sign_offs(required, records=preview.tier_records, signed=signed)
    return preview


def _counted(run: Run, config: ExportConfig, count_signed: bool) -> list[tuple[Any, ...]]:
    """(benchmark, state, reason, tier, questions, records kept, records that stay, accepted ones among them)

    Kept for a minute while the run's counters and the held-out questions stay as they are, where nothing else is asked for.
    """
    if count_signed or _labels(config)[1] or config.duplicates == "out":
        return _count(run, config, count_signed)
    chosen = hashlib.sha256(json.dumps(config.as_json(), sort_keys=True).encode()).hexdigest()
    held_out = Question.objects.filter(held_out=True).aggregate(n=Count("pk"), ids=Sum("pk"))
    key = f"export-preview:{run.pk}:{chosen}:{counters_mark(run)}:{held_out['n']}:{held_out['ids']}"
    found: list[tuple[Any, ...]] | None = cache.get(key)
    if found is None:
        found = _count(run, config, count_signed)
        cache.set(key, found, KEPT_S)
    return found


def _count(run: Run, config: ExportConfig, count_signed: bool) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "run": run.pk,
        "benchmarks": list(Benchmark.objects.filter(slug__in=config.benchmarks).values_list("pk", flat=True)),
        "tiers": list(config.tiers),
    }
    join, stays = _labels(config)
    kept = f"kept AS ({_KEPT.format(stays=stays, join=join)})," if stays else ""
    signed = f"signed AS ({_SIGNED.format(stays=stays or 'true', join=join)})," if count_signed else ""
    sql = f"""
        WITH {kept} {signed} asked AS (
          SELECT q.benchmark_id, q.state, q.reason, q.tier, {_out(run, config)} AS out, count(*) AS questions,
            sum(q.records) AS records, sum({"coalesce(kept.stay, 0)" if stays else "q.records"}) AS stay,
            sum({"coalesce(signed.n, 0)" if count_signed else "0"}) AS signed
          FROM reasoning_runquestion q
          LEFT JOIN (SELECT id FROM questions_question WHERE held_out) h ON h.id = q.question_id
          {"LEFT JOIN kept ON kept.question_id = q.question_id" if stays else ""}
          {"LEFT JOIN signed ON signed.question_id = q.question_id" if count_signed else ""}
          WHERE q.run_id = %(run)s GROUP BY 1, 2, 3, 4, 5
        )
        SELECT benchmark_id, CASE WHEN out <> '' THEN 'excluded' ELSE state END, CASE WHEN out <> '' THEN out ELSE reason END,
          tier, questions, records, stay, signed
        FROM asked"""  # noqa: S608 - built of the texts of this module alone
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def _out(run: Run, config: ExportConfig) -> str:
    """Why a ready question stays behind, in the order of `tally.state_of` and `sieves_of`; '' where it does not."""
    cases = []
    if not run.allow_held_out or config.sources == "open":
        cases.append(f"WHEN h.id IS NOT NULL THEN '{HELD_OUT}'")
    if config.sources == "held_out":
        cases.append(f"WHEN h.id IS NULL THEN '{OPEN_SOURCE}'")
    if config.benchmarks:
        cases.append(f"WHEN NOT q.benchmark_id = ANY(%(benchmarks)s::bigint[]) THEN '{NOT_CHOSEN_BENCHMARK}'")
    if config.tiers:
        cases.append(f"WHEN NOT q.tier = ANY(%(tiers)s::text[]) THEN '{NOT_CHOSEN_TIER}'")
    if config.duplicates == "out":
        cases.append(f"WHEN q.question_id IN ({_DUPLICATES}) THEN '{DUPLICATE}'")
    if config.labels == "judge":
        cases.append(f"WHEN q.overridden OR coalesce(kept.stay, 0) = 0 THEN '{BY_PEOPLE}'")
    if config.labels == "clinician":
        cases.append(f"WHEN coalesce(kept.stay, 0) = 0 THEN '{NOT_BY_PEOPLE}'")
    chosen = f"CASE {' '.join(cases)} ELSE '' END" if cases else "''"
    return f"CASE WHEN q.state <> 'ready' THEN '' ELSE {chosen} END"


def _labels(config: ExportConfig) -> tuple[str, str]:
    """The join and the condition under which a kept path stays; none for the defaults."""
    if config.labels == "clinician_first":
        return "", ""
    stays = "l.judge_label = 'correct'" if config.labels == "judge" else "l.source IN ('person', 'adjudication')"
    return "JOIN reasoning_pathlabel l ON l.run_id = s.run_id AND l.path_id = s.path_id", stays


_KEPT = """
  SELECT s.question_id, count(*) FILTER (WHERE {stays}) AS stay FROM reasoning_selection s {join}
  WHERE s.run_id = %(run)s AND s.current AND NOT EXISTS (
    SELECT 1 FROM review_recorddecision d WHERE d.run_id = s.run_id AND d.path_id = s.path_id AND d.current
      AND d.decision = 'excluded')
  GROUP BY 1"""

_SIGNED = """
  SELECT s.question_id, count(*) AS n FROM review_recorddecision d
  JOIN reasoning_selection s ON s.run_id = d.run_id AND s.question_id = d.question_id AND s.path_id = d.path_id AND s.current
  JOIN reasoning_response r ON r.id = d.response_id AND r.current {join}
  WHERE d.run_id = %(run)s AND d.current AND d.decision = 'accepted' AND ({stays}) GROUP BY 1"""

_DUPLICATES = """
  SELECT d.id FROM questions_question d JOIN reasoning_runquestion m ON m.run_id = %(run)s AND m.question_id = d.id
  WHERE d.canonical_id IS NOT NULL AND EXISTS (
    SELECT 1 FROM questions_question f JOIN reasoning_runquestion e ON e.run_id = %(run)s AND e.question_id = f.id
    WHERE f.id = d.canonical_id OR (f.canonical_id = d.canonical_id AND f.id < d.id))"""
