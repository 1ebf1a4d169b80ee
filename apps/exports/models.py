"""What leaves: one export as it was built, what it holds, and what it left out."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.questions.models import Project, Question
from apps.reasoning.models import QuestionState, ReasoningPath, Response, Run, Tier


class ExportState(models.TextChoices):
    QUEUED = "queued"
    BUILDING = "building"
    DONE = "done"
    FAILED = "failed"


class Snapshot(models.Model):
    """One export: what was asked for, its manifest, and where its files lie (under EXPORT_DIR).

    Done and without a name it is a *candidate*: its records never change. Published, it has a name that no other one of
    its project ever has, and the database refuses to delete it or to change what it is (migration 0004).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="snapshots")  # the run's, set by save()
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="snapshots")
    number = models.PositiveIntegerField()  # nth of its run
    name = models.CharField(max_length=100, blank=True)  # reasonmed-2026.1, once published
    state = models.CharField(max_length=10, choices=ExportState, default=ExportState.QUEUED)
    variants = models.JSONField(default=list)  # ["reasonmed", "cotmed", "responsemed"]
    format = models.CharField(max_length=10)  # one of writers.FORMATS
    config = models.JSONField(default=dict, blank=True)  # config.ExportConfig as JSON
    folder = models.CharField(max_length=500, blank=True)
    manifest = models.JSONField(null=True)
    records = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)  # of all files but the manifest
    questions = models.PositiveIntegerField(default=0)  # of the run, known once building
    done_questions = models.PositiveIntegerField(default=0)  # progress while building
    attempts = models.PositiveSmallIntegerField(default=0)  # times a builder took it up
    simulated = models.BooleanField(null=True)
    held_out = models.BooleanField(null=True)
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    published_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("run", "number"), name="snapshot_number_in_run"),
            models.UniqueConstraint(fields=("project", "name"), name="snapshot_name_in_project", condition=~Q(name="")),
            models.CheckConstraint(
                name="snapshot_published_has_name",
                condition=Q(name="", published_at__isnull=True)
                | (~Q(name="") & Q(published_at__isnull=False, state=ExportState.DONE)),
            ),
        )
        indexes = (
            models.Index(
                fields=("created_at",),
                name="snapshot_to_build",
                condition=Q(state__in=(ExportState.QUEUED, ExportState.BUILDING)),
            ),
            models.Index(fields=("project", "-created_at", "-id"), name="snapshot_newest"),
        )

    def __str__(self) -> str:
        return self.name or self.candidate_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.project_id is None:
            self.project_id = self.run.project_id
        super().save(*args, **kwargs)

    @property
    def candidate_name(self) -> str:
        """What it is called until it is published."""
        return f"{self.run.name}.{self.number}"

    @property
    def active(self) -> bool:
        """Still to be written or being written."""
        return self.state in (ExportState.QUEUED, ExportState.BUILDING)

    @property
    def candidate(self) -> bool:
        return self.state == ExportState.DONE and not self.name

    @property
    def published(self) -> bool:
        return bool(self.name)

    @property
    def percent(self) -> int:
        return 100 * self.done_questions // self.questions if self.questions else 0

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return self.bytes


class SnapshotRecord(models.Model):
    """One record of a snapshot: what it was made from. `number` is its place in each set, from 0, in the order of (question, slot)."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="held", db_index=False)
    number = models.PositiveIntegerField()
    question = models.ForeignKey(
        Question, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )  # not checked by the database, like path and response: what a run holds is never deleted, and these rows are many
    slot = models.PositiveSmallIntegerField()
    path = models.ForeignKey(
        ReasoningPath, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    response = models.ForeignKey(
        Response, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    tier = models.CharField(max_length=10, choices=Tier)
    errors = models.PositiveSmallIntegerField(null=True)  # of the question's paths
    overridden = models.BooleanField()  # a person's word had changed the question
    version = models.PositiveIntegerField()  # of the RunQuestion when it was read
    content = models.BinaryField(max_length=32)  # review.records.content.content_hash

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("snapshot", "number"), name="snapshot_record_number"),
            models.UniqueConstraint(fields=("snapshot", "question", "slot"), name="snapshot_record_of_question"),
        )


class SnapshotOmission(models.Model):
    """What a snapshot left out and why: a question (slot 0), or one record of an exported question."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="left_out", db_index=False)
    question = models.ForeignKey(
        Question, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    slot = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=10, choices=QuestionState)  # excluded or waiting
    reason = models.CharField(max_length=40)
    version = models.PositiveIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("snapshot", "question", "slot"), name="snapshot_omission_of_question"),
        )


from apps.exports import models_certificate as models_certificate  # noqa: E402 - one app, two files of models
from apps.exports import models_checks as models_checks  # noqa: E402
from apps.exports import models_downloads as models_downloads  # noqa: E402
