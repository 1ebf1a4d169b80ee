"""The words of each verdict's reason, for the search on the Paths page.

Stored, not only indexed: a common word is found by walking the paths in order, and reading its words again from the text
for each verdict passed would take most of a second. Outside the model, so that no query reads the column by accident.
The table is written anew: allow a few minutes for two million verdicts.
"""

from django.db import migrations

ADD = """
ALTER TABLE reasoning_verdict ADD COLUMN reason_words tsvector
  GENERATED ALWAYS AS (to_tsvector('english'::regconfig, reason)) STORED;
CREATE INDEX verdict_reason_words ON reasoning_verdict USING gin (reason_words) WHERE source = 'judge' AND current;
ANALYZE reasoning_verdict (reason_words);
"""
DROP = "ALTER TABLE reasoning_verdict DROP COLUMN reason_words;"


class Migration(migrations.Migration):
    dependencies = [("reasoning", "0005_take_back_and_measure")]

    operations = [migrations.RunSQL(ADD, DROP)]
