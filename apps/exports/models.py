"""What leaves: one export as it was built."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from apps.reasoning.models import Run


class ExportState(models.TextChoices):
    QUEUED = "queued"
    BUILDING = "building"
    DONE = "done"
    FAILED = "failed"


class Snapshot(models.Model):
    """One export: what was asked for, its manifest, and where its files lie (under EXPORT_DIR)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="snapshots")
    number = models.PositiveIntegerField()  # nth of its run
    state = models.CharField(max_length=10, choices=ExportState, default=ExportState.QUEUED)
    variants = models.JSONField(default=list)  # ["reasonmed", "cotmed", "responsemed"]
    format = models.CharField(max_length=10)  # one of writers.FORMATS
    folder = models.CharField(max_length=500, blank=True)
    manifest = models.JSONField(null=True)
    records = models.PositiveIntegerField(default=0)
    questions = models.PositiveIntegerField(default=0)  # of the run, known once building
    done_questions = models.PositiveIntegerField(default=0)  # progress while building
    attempts = models.PositiveSmallIntegerField(default=0)  # times a builder took it up
    simulated = models.BooleanField(null=True)
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=("run", "number"), name="snapshot_number_in_run"),)
        indexes = (
            models.Index(
                fields=("created_at",),
                name="snapshot_to_build",
                condition=models.Q(state__in=(ExportState.QUEUED, ExportState.BUILDING)),
            ),
        )

    def __str__(self) -> str:
        return f"{self.run.name}.{self.number}"

    @property
    def active(self) -> bool:
        """Still to be written or being written."""
        return self.state in (ExportState.QUEUED, ExportState.BUILDING)

    @property
    def percent(self) -> int:
        return 100 * self.done_questions // self.questions if self.questions else 0

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(f["bytes"] for f in (*self.manifest["files"], self.manifest["card"])) if self.manifest else 0
