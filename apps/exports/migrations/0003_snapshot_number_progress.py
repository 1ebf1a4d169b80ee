from django.db import migrations, models


def number_them(apps, schema_editor):
    """Existing snapshots are numbered within their run, oldest first."""
    Snapshot = apps.get_model("exports", "Snapshot")
    last = {}
    for snapshot in Snapshot.objects.order_by("created_at"):
        snapshot.number = last[snapshot.run_id] = last.get(snapshot.run_id, 0) + 1
        snapshot.save(update_fields=["number"])


class Migration(migrations.Migration):
    dependencies = [("exports", "0002_initial")]

    operations = [
        migrations.AddField("snapshot", "number", models.PositiveIntegerField(default=0), preserve_default=False),
        migrations.AddField("snapshot", "questions", models.PositiveIntegerField(default=0)),
        migrations.AddField("snapshot", "attempts", models.PositiveSmallIntegerField(default=0)),
        migrations.RunPython(number_them, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            "snapshot", models.UniqueConstraint(fields=("run", "number"), name="snapshot_number_in_run")
        ),
        migrations.AddIndex(
            "snapshot",
            models.Index(
                fields=["created_at"],
                name="snapshot_to_build",
                condition=models.Q(("state__in", ("queued", "building"))),
            ),
        ),
    ]
