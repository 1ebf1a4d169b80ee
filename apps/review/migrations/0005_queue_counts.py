"""How far each queue is, kept by triggers: whoever changes items, in whatever way, the counts follow in the same transaction."""

import django.db.models.deletion
from django.db import migrations, models

CREATE = """
CREATE FUNCTION review_count_queue_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM review_add_queue_counts(queue_id, sum(done), count(*) FILTER (WHERE NOT open AND NOT set_aside),
      count(*) FILTER (WHERE set_aside)) FROM new_items GROUP BY queue_id ORDER BY queue_id;
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM review_add_queue_counts(queue_id, -sum(done), -count(*) FILTER (WHERE NOT open AND NOT set_aside),
      -count(*) FILTER (WHERE set_aside)) FROM old_items GROUP BY queue_id ORDER BY queue_id;
  ELSE
    PERFORM review_add_queue_counts(n.queue_id, sum(n.done - o.done),
      sum((NOT n.open AND NOT n.set_aside)::int - (NOT o.open AND NOT o.set_aside)::int), sum(n.set_aside::int - o.set_aside::int))
      FROM new_items n JOIN old_items o ON o.id = n.id GROUP BY n.queue_id ORDER BY n.queue_id;
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION review_add_queue_counts(queue bigint, more_judgments bigint, more_finished bigint, more_aside bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF more_judgments <> 0 OR more_finished <> 0 OR more_aside <> 0 THEN
    INSERT INTO review_queuecount AS c (queue_id, shard, judgments, finished, set_aside)
    VALUES (queue, pg_backend_pid() % 8, more_judgments, more_finished, more_aside)
    ON CONFLICT (queue_id, shard) DO UPDATE SET judgments = c.judgments + excluded.judgments,
      finished = c.finished + excluded.finished, set_aside = c.set_aside + excluded.set_aside;
  END IF;
END $$;
CREATE TRIGGER queue_items_added AFTER INSERT ON review_queueitem REFERENCING NEW TABLE AS new_items
FOR EACH STATEMENT EXECUTE FUNCTION review_count_queue_items();
CREATE TRIGGER queue_items_changed AFTER UPDATE ON review_queueitem REFERENCING NEW TABLE AS new_items OLD TABLE AS old_items
FOR EACH STATEMENT EXECUTE FUNCTION review_count_queue_items();
CREATE TRIGGER queue_items_gone AFTER DELETE ON review_queueitem REFERENCING OLD TABLE AS old_items
FOR EACH STATEMENT EXECUTE FUNCTION review_count_queue_items();
INSERT INTO review_queuecount (queue_id, shard, judgments, finished, set_aside)
SELECT queue_id, 0, sum(done), count(*) FILTER (WHERE NOT open AND NOT set_aside), count(*) FILTER (WHERE set_aside)
FROM review_queueitem GROUP BY queue_id;
"""
DROP = """
DROP TRIGGER queue_items_added ON review_queueitem;
DROP TRIGGER queue_items_changed ON review_queueitem;
DROP TRIGGER queue_items_gone ON review_queueitem;
DROP FUNCTION review_count_queue_items();
DROP FUNCTION review_add_queue_counts(bigint, bigint, bigint, bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("review", "0004_settings")]

    operations = [
        migrations.CreateModel(
            name="QueueCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("shard", models.PositiveSmallIntegerField()),
                ("judgments", models.BigIntegerField(default=0)),
                ("finished", models.BigIntegerField(default=0)),
                ("set_aside", models.BigIntegerField(default=0)),
                (
                    "queue",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="counts_by_shard",
                        to="review.reviewqueue",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("queue", "shard"), name="queue_count_shard")],
            },
        ),
        migrations.RunSQL(CREATE, DROP),
    ]
