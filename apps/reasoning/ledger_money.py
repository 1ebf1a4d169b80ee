"""Recomputes a run's money and tokens from its Calls and reservations. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from apps.reasoning.ledger_fetch import Drift, fetch
from apps.reasoning.models import Run

_COUNTED = """
SELECT key, sum(value)::bigint FROM (
  SELECT 'cost_e8' AS key, cost * 100000000 AS value FROM pipeline_call WHERE run_id = %(run)s
  UNION ALL SELECT 'cost_e8:stage:' || stage, cost * 100000000 FROM pipeline_call WHERE run_id = %(run)s
  UNION ALL SELECT 'cost_e8:endpoint:' || endpoint, cost * 100000000 FROM pipeline_call WHERE run_id = %(run)s
  UNION ALL SELECT 'cost_e8:wasted', cost * 100000000 FROM pipeline_call WHERE run_id = %(run)s AND status <> 'ok'
  UNION ALL SELECT 'cost_e8:unknown', cost * 100000000 FROM pipeline_call WHERE run_id = %(run)s AND status = 'unknown'
  UNION ALL SELECT 'cost_e8:tier:' || CASE WHEN tier = '' THEN 'none' ELSE tier END, cost * 100000000
    FROM reasoning_runquestion WHERE run_id = %(run)s
  UNION ALL SELECT 'tokens_in:' || endpoint, tokens_in FROM pipeline_call WHERE run_id = %(run)s
  UNION ALL SELECT 'tokens_out:' || endpoint, tokens_out FROM pipeline_call WHERE run_id = %(run)s
  UNION ALL SELECT 'tokens_cached:' || endpoint, tokens_cached FROM pipeline_call WHERE run_id = %(run)s
) counted GROUP BY key HAVING sum(value) <> 0"""

_STORED = """
SELECT key, sum(value)::bigint FROM reasoning_runcounter
WHERE run_id = %(run)s AND (key = 'cost_e8' OR key LIKE 'cost\\_e8:%%' OR key LIKE 'tokens\\_%%:%%')
GROUP BY key HAVING sum(value) <> 0"""

_QUESTIONS = """
SELECT r.question_id, r.cost, coalesce(c.cost, 0) FROM reasoning_runquestion r
LEFT JOIN (SELECT question_id, sum(cost) AS cost FROM pipeline_call WHERE run_id = %(run)s GROUP BY question_id) c
  USING (question_id)
WHERE r.run_id = %(run)s AND r.cost <> coalesce(c.cost, 0)"""

_BUDGET = """
SELECT spent, (SELECT coalesce(sum(cost), 0) FROM pipeline_call WHERE run_id = %(run)s),
       reserved, (SELECT coalesce(sum(amount), 0) FROM pipeline_reservation WHERE run_id = %(run)s)
FROM pipeline_runbudget WHERE run_id = %(run)s"""


def check_money(run: Run) -> Iterator[Drift]:
    """Costs of questions, the budget's sums, and the counters of money and tokens, against the Calls."""
    parameters = {"run": run.pk}
    for question, stored, expected in fetch(_QUESTIONS, parameters):
        yield Drift(run.name, "money", f"question {question} cost", stored, expected)
    none = (Decimal(0),) * 4
    spent, called, reserved, held = next(iter(fetch(_BUDGET, parameters)), none)
    if spent != called:
        yield Drift(run.name, "money", "spent", spent, called)
    if reserved != held:
        yield Drift(run.name, "money", "reserved", reserved, held)
    expected_counts, stored_counts = dict(fetch(_COUNTED, parameters)), dict(fetch(_STORED, parameters))
    for key in sorted(expected_counts.keys() | stored_counts.keys()):
        if stored_counts.get(key, 0) != expected_counts.get(key, 0):
            yield Drift(run.name, "counter", key, stored_counts.get(key, 0), expected_counts.get(key, 0))
