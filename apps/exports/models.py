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
    state = models.CharField(max_length=10, choices=ExportState, default=ExportState.QUEUED)
    variants = models.JSONField(default=list)  # ["reasonmed", "cotmed", "responsemed"]
    format = models.CharField(max_length=10)  # jsonl, parquet
    folder = models.CharField(max_length=500, blank=True)
    manifest = models.JSONField(null=True)
    records = models.PositiveIntegerField(default=0)
    done_questions = models.PositiveIntegerField(default=0)  # progress while building
    simulated = models.BooleanField(null=True)
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
