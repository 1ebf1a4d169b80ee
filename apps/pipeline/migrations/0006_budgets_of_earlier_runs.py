"""Runs made before there were budgets get one without limits; what their calls cost is spent."""

from django.db import migrations

FILL = """
INSERT INTO pipeline_runbudget (run_id, spent, reserved)
SELECT r.id, coalesce((SELECT sum(c.cost) FROM pipeline_call c WHERE c.run_id = r.id), 0), 0 FROM reasoning_run r
ON CONFLICT DO NOTHING;
UPDATE reasoning_runquestion r SET cost = c.cost FROM
  (SELECT run_id, question_id, sum(cost) AS cost FROM pipeline_call WHERE cost > 0 GROUP BY 1, 2) c
  WHERE c.run_id = r.run_id AND c.question_id = r.question_id;
DELETE FROM reasoning_runcounter WHERE key = 'cost_micro';
INSERT INTO reasoning_runcounter (run_id, key, shard, value)
SELECT run_id, key, 0, sum(value)::bigint FROM (
  SELECT run_id, 'cost_e8' AS key, cost * 100000000 AS value FROM pipeline_call
  UNION ALL SELECT run_id, 'cost_e8:stage:' || stage, cost * 100000000 FROM pipeline_call
  UNION ALL SELECT run_id, 'cost_e8:endpoint:' || endpoint, cost * 100000000 FROM pipeline_call
  UNION ALL SELECT run_id, 'cost_e8:wasted', cost * 100000000 FROM pipeline_call WHERE status <> 'ok'
  UNION ALL SELECT run_id, 'cost_e8:tier:' || CASE WHEN tier = '' THEN 'none' ELSE tier END, cost * 100000000
    FROM reasoning_runquestion
  UNION ALL SELECT run_id, 'tokens_in:' || endpoint, tokens_in FROM pipeline_call
  UNION ALL SELECT run_id, 'tokens_out:' || endpoint, tokens_out FROM pipeline_call
  UNION ALL SELECT run_id, 'tokens_cached:' || endpoint, tokens_cached FROM pipeline_call
) counted GROUP BY run_id, key HAVING sum(value) <> 0
ON CONFLICT DO NOTHING;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("pipeline", "0005_call_failed"),
        ("reasoning", "0004_question_cost"),
    )

    operations = (migrations.RunSQL(FILL, migrations.RunSQL.noop),)
