"""Runs made before calls were counted by lane get those counters."""

from django.db import migrations

FILL = """
INSERT INTO reasoning_runcounter (run_id, key, shard, value)
SELECT run_id, 'calls:' || stage || '@' || endpoint, 0, count(*) FROM pipeline_call GROUP BY 1, 2
ON CONFLICT (run_id, key, shard) DO NOTHING"""


class Migration(migrations.Migration):
    dependencies = (("pipeline", "0006_budgets_of_earlier_runs"),)

    operations = (migrations.RunSQL(FILL, migrations.RunSQL.noop),)
