"""Who fetched which file of which export; append-only."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.exports.models import Snapshot


class Download(models.Model):
    """A file, or the rest of one that broke off. `export` is what the snapshot was called then; a discarded candidate leaves it."""

    snapshot = models.ForeignKey(Snapshot, null=True, on_delete=models.SET_NULL, related_name="downloads")
    export = models.CharField(max_length=150)
    file = models.CharField(max_length=200)
    start = models.PositiveBigIntegerField(default=0)  # first byte asked for
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.export}: {self.file}"
