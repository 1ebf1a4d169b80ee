"""Candidates and published snapshots: names, choices, a checkpoint, and what each snapshot holds and left out.

Exports from before become candidates. A published snapshot is guarded by the database itself: no code path, admin page
or shell can delete it or turn it into something else by mistake.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

FILL = """
UPDATE exports_snapshot s SET project_id = r.project_id FROM reasoning_run r WHERE r.id = s.run_id;
UPDATE exports_snapshot SET held_out = (manifest->>'held_out')::boolean,
  bytes = coalesce((SELECT sum((f->>'bytes')::bigint) FROM jsonb_array_elements(manifest->'files') f), 0)
    + coalesce((manifest->'card'->>'bytes')::bigint, 0)
WHERE jsonb_typeof(manifest) = 'object';
"""

GUARD = """
CREATE FUNCTION exports_guard_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'A published snapshot cannot be deleted: %', OLD.name USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF (NEW.id, NEW.project_id, NEW.run_id, NEW.number, NEW.name, NEW.state, NEW.variants, NEW.format, NEW.config, NEW.folder,
      NEW.manifest, NEW.records, NEW.bytes, NEW.questions, NEW.simulated, NEW.held_out, NEW.created_by_id, NEW.created_at,
      NEW.finished_at, NEW.published_by_id, NEW.published_at)
    IS DISTINCT FROM
     (OLD.id, OLD.project_id, OLD.run_id, OLD.number, OLD.name, OLD.state, OLD.variants, OLD.format, OLD.config, OLD.folder,
      OLD.manifest, OLD.records, OLD.bytes, OLD.questions, OLD.simulated, OLD.held_out, OLD.created_by_id, OLD.created_at,
      OLD.finished_at, OLD.published_by_id, OLD.published_at)
  THEN
    RAISE EXCEPTION 'A published snapshot never changes: %', OLD.name USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER published_snapshot_stays BEFORE UPDATE OR DELETE ON exports_snapshot
  FOR EACH ROW WHEN (OLD.name <> '') EXECUTE FUNCTION exports_guard_published();
"""
UNGUARD = """
DROP TRIGGER published_snapshot_stays ON exports_snapshot;
DROP FUNCTION exports_guard_published();
"""


def unchecked(to):
    """A key that the database does not check: these rows are many, and what they name is never deleted."""
    return models.ForeignKey(
        to, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )


def of_snapshot(related_name):
    return models.ForeignKey(
        "exports.snapshot", on_delete=django.db.models.deletion.CASCADE, related_name=related_name, db_index=False
    )


def by_user():
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+"
    )


def project(**kwargs):
    return models.ForeignKey(
        "questions.project", on_delete=django.db.models.deletion.PROTECT, related_name="snapshots", **kwargs
    )


TIERS = [("easy", "Easy"), ("medium", "Medium"), ("difficult", "Difficult")]
STATES = [("waiting", "Waiting"), ("ready", "Ready"), ("excluded", "Excluded")]


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("exports", "0003_snapshot_number_progress"),
        ("questions", "0004_question_held_out"),
        ("reasoning", "0008_path_disputed"),
    ]

    operations = [
        migrations.AddField("snapshot", "project", project(null=True)),
        migrations.AddField("snapshot", "name", models.CharField(max_length=100, blank=True, default="")),
        migrations.AlterField("snapshot", "name", models.CharField(max_length=100, blank=True)),
        migrations.AddField("snapshot", "config", models.JSONField(default=dict, blank=True)),
        migrations.AddField("snapshot", "checkpoint", models.JSONField(null=True)),
        migrations.AddField("snapshot", "bytes", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("snapshot", "held_out", models.BooleanField(null=True)),
        migrations.AddField("snapshot", "published_by", by_user()),
        migrations.AddField("snapshot", "published_at", models.DateTimeField(null=True)),
        migrations.RunSQL(f"{FILL} SET CONSTRAINTS ALL IMMEDIATE;", migrations.RunSQL.noop),
        migrations.AlterField("snapshot", "project", project()),
        migrations.AddConstraint(
            "snapshot",
            models.UniqueConstraint(fields=("project", "name"), name="snapshot_name_in_project", condition=~Q(name="")),
        ),
        migrations.AddConstraint(
            "snapshot",
            models.CheckConstraint(
                name="snapshot_published_has_name",
                condition=Q(name="", published_at__isnull=True)
                | (~Q(name="") & Q(published_at__isnull=False, state="done")),
            ),
        ),
        migrations.AddIndex("snapshot", models.Index(fields=["project", "-created_at", "-id"], name="snapshot_newest")),
        migrations.CreateModel(
            name="SnapshotRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("slot", models.PositiveSmallIntegerField()),
                ("tier", models.CharField(max_length=10, choices=TIERS)),
                ("errors", models.PositiveSmallIntegerField(null=True)),
                ("overridden", models.BooleanField()),
                ("version", models.PositiveIntegerField()),
                ("content", models.BinaryField(max_length=32)),
                ("snapshot", of_snapshot("held")),
                ("question", unchecked("questions.question")),
                ("path", unchecked("reasoning.reasoningpath")),
                ("response", unchecked("reasoning.response")),
            ],
            options={
                "constraints": (
                    models.UniqueConstraint(fields=("snapshot", "number"), name="snapshot_record_number"),
                    models.UniqueConstraint(
                        fields=("snapshot", "question", "slot"), name="snapshot_record_of_question"
                    ),
                ),
            },
        ),
        migrations.CreateModel(
            name="SnapshotOmission",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slot", models.PositiveSmallIntegerField(default=0)),
                ("state", models.CharField(max_length=10, choices=STATES)),
                ("reason", models.CharField(max_length=40)),
                ("version", models.PositiveIntegerField()),
                ("snapshot", of_snapshot("left_out")),
                ("question", unchecked("questions.question")),
            ],
            options={
                "constraints": (
                    models.UniqueConstraint(
                        fields=("snapshot", "question", "slot"), name="snapshot_omission_of_question"
                    ),
                ),
            },
        ),
        migrations.RunSQL(GUARD, UNGUARD),
    ]
