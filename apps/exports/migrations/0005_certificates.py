"""Certifications: samples of an export's records, claims on them, judgments that only measure.

What a study is (records, plan, seed, sample) never changes, a published one not at all, and nobody edits what was said:
the database itself refuses it.
"""

import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models

GUARD = """
CREATE FUNCTION exports_guard_certification() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.state = 'published' OR (OLD.snapshot_id, OLD.root, OLD.plan, OLD.seed, OLD.overlap, OLD.records, OLD.strata, OLD.size)
    IS DISTINCT FROM
     (NEW.snapshot_id, NEW.root, NEW.plan, NEW.seed, NEW.overlap, NEW.records, NEW.strata, NEW.size)
  THEN
    RAISE EXCEPTION 'What is certified, how, and by which seed never changes' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER certification_stays BEFORE UPDATE ON exports_certification
  FOR EACH ROW EXECUTE FUNCTION exports_guard_certification();
CREATE FUNCTION exports_guard_judgment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.current OR (OLD.claim_id, OLD.record_id, OLD.reviewer_id, OLD.round, OLD.wrong, OLD.faults, OLD.comment)
    IS DISTINCT FROM (NEW.claim_id, NEW.record_id, NEW.reviewer_id, NEW.round, NEW.wrong, NEW.faults, NEW.comment)
  THEN
    RAISE EXCEPTION 'What was said of a record drawn is never edited' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER sample_judgment_stays BEFORE UPDATE OR DELETE ON exports_samplejudgment
  FOR EACH ROW EXECUTE FUNCTION exports_guard_judgment();
"""
UNGUARD = """
DROP TRIGGER certification_stays ON exports_certification;
DROP FUNCTION exports_guard_certification();
DROP TRIGGER sample_judgment_stays ON exports_samplejudgment;
DROP FUNCTION exports_guard_judgment();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('exports', '0004_candidates_and_published'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Certification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('root', models.CharField(max_length=64)),
                ('plan', models.JSONField()),
                ('seed', models.CharField(max_length=200)),
                ('overlap', models.PositiveSmallIntegerField(default=1)),
                ('role', models.CharField(blank=True, max_length=20)),
                ('state', models.CharField(choices=[('open', 'Open'), ('signing', 'Signing'), ('published', 'Published'), ('ended', 'Ended'), ('withdrawn', 'Withdrawn')], default='open', max_length=10)),
                ('records', models.PositiveIntegerField()),
                ('strata', models.JSONField()),
                ('size', models.PositiveIntegerField()),
                ('document', models.JSONField(null=True)),
                ('error', models.CharField(blank=True, max_length=500)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('closed_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('reviewers', models.ManyToManyField(blank=True, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('snapshot', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='certifications', to='exports.snapshot')),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.CreateModel(
            name='SampleClaim',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token', models.UUIDField(default=uuid.uuid4)),
                ('state', models.CharField(choices=[('live', 'Live'), ('judged', 'Judged'), ('skipped', 'Skipped'), ('released', 'Released')], default='live', max_length=8)),
                ('slot', models.PositiveSmallIntegerField(null=True)),
                ('version', models.PositiveSmallIntegerField(default=0)),
                ('skip_reason', models.CharField(blank=True, choices=[('not_my_specialty', 'Not my specialty'), ('unsure', 'I cannot decide'), ('unreadable', 'The path cannot be read'), ('conflict', 'I should not judge this one'), ('other', 'Other')], max_length=20)),
                ('claimed_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('reviewer', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='SampleRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('position', models.PositiveIntegerField()),
                ('stratum', models.CharField(max_length=100)),
                ('taken', models.PositiveSmallIntegerField(default=0)),
                ('free_at', models.DateTimeField(null=True)),
                ('done', models.PositiveSmallIntegerField(default=0)),
                ('outcome', models.CharField(blank=True, choices=[('right', 'Right'), ('wrong', 'Wrong')], max_length=5)),
                ('certification', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='sample', to='exports.certification')),
                ('held', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='exports.snapshotrecord')),
            ],
        ),
        migrations.CreateModel(
            name='SampleJudgment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('round', models.PositiveSmallIntegerField()),
                ('wrong', models.BooleanField(null=True)),
                ('faults', models.JSONField(blank=True, default=list)),
                ('comment', models.TextField(blank=True)),
                ('active_ms', models.PositiveIntegerField(default=0)),
                ('current', models.BooleanField(default=True)),
                ('idempotency_key', models.UUIDField(unique=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('claim', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='judgments', to='exports.sampleclaim')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('record', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='judgments', to='exports.samplerecord')),
            ],
        ),
        migrations.AddField(
            model_name='sampleclaim',
            name='record',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='claims', to='exports.samplerecord'),
        ),
        migrations.AddConstraint(
            model_name='certification',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'withdrawn'), _negated=True), fields=('root',), name='certification_of_root'),
        ),
        migrations.AddConstraint(
            model_name='certification',
            constraint=models.CheckConstraint(condition=models.Q(('overlap__gte', 1)), name='certification_overlap'),
        ),
        migrations.AddConstraint(
            model_name='certification',
            constraint=models.CheckConstraint(condition=models.Q(('size__gte', 1), ('size__lte', models.F('records'))), name='certification_draws_something'),
        ),
        migrations.AddConstraint(
            model_name='certification',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('document__isnull', False), ('state__in', ('signing', 'published'))), models.Q(('document__isnull', True), ('state__in', ('open', 'ended', 'withdrawn'))), _connector='OR'), name='certification_document_when_over'),
        ),
        migrations.AddIndex(
            model_name='samplerecord',
            index=models.Index(condition=models.Q(('outcome', '')), fields=['certification', 'position'], name='sample_record_open'),
        ),
        migrations.AddConstraint(
            model_name='samplerecord',
            constraint=models.UniqueConstraint(fields=('certification', 'number'), name='sample_record_number'),
        ),
        migrations.AddConstraint(
            model_name='samplerecord',
            constraint=models.UniqueConstraint(fields=('certification', 'position'), name='sample_record_position'),
        ),
        migrations.AddConstraint(
            model_name='samplerecord',
            constraint=models.CheckConstraint(condition=models.Q(('done__lte', models.F('taken'))), name='sample_record_done_within_taken'),
        ),
        migrations.AddConstraint(
            model_name='samplerecord',
            constraint=models.CheckConstraint(condition=models.Q(('outcome', ''), ('done__gte', 1), _connector='OR'), name='sample_record_outcome_of_some'),
        ),
        migrations.AddConstraint(
            model_name='samplejudgment',
            constraint=models.UniqueConstraint(fields=('claim', 'round'), name='sample_judgment_round'),
        ),
        migrations.AddConstraint(
            model_name='samplejudgment',
            constraint=models.UniqueConstraint(condition=models.Q(('current', True)), fields=('claim',), name='sample_judgment_current'),
        ),
        migrations.AddConstraint(
            model_name='samplejudgment',
            constraint=models.CheckConstraint(condition=models.Q(('round__gte', 1)), name='sample_judgment_round_from_one'),
        ),
        migrations.AddConstraint(
            model_name='samplejudgment',
            constraint=models.CheckConstraint(condition=models.Q(('wrong', True), ('faults', []), _connector='OR'), name='sample_judgment_faults_of_wrong'),
        ),
        migrations.AddIndex(
            model_name='sampleclaim',
            index=models.Index(fields=['reviewer', 'state', 'record'], name='sample_claim_of_person'),
        ),
        migrations.AddConstraint(
            model_name='sampleclaim',
            constraint=models.UniqueConstraint(fields=('record', 'reviewer'), name='sample_claim_of_reviewer'),
        ),
        migrations.AddConstraint(
            model_name='sampleclaim',
            constraint=models.UniqueConstraint(fields=('record', 'slot'), name='sample_claim_slot'),
        ),
        migrations.AddConstraint(
            model_name='sampleclaim',
            constraint=models.CheckConstraint(condition=models.Q(('state', 'live'), models.Q(('slot__gte', 1), ('state', 'judged')), models.Q(('slot__isnull', True), ('state__in', ('skipped', 'released'))), _connector='OR'), name='sample_claim_slot_by_state'),
        ),
        migrations.RunSQL(GUARD, UNGUARD),
    ]
