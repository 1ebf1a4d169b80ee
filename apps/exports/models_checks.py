"""What was found in the records or questions that would leave, kept with its time: quality gates and contamination."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.questions.models import Project, Question
from apps.reasoning.models import ReasoningPath, Run


class InspectionKind(models.TextChoices):
    GATES = "gates"
    CONTAMINATION = "contamination"


class InspectionState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


UNFINISHED = (InspectionState.QUEUED, InspectionState.RUNNING)


class Inspection(models.Model):
    """One look through a run, ordered by a person, a command or an export. Without a run: all questions one may train on."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="inspections")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="inspections")
    kind = models.CharField(max_length=20, choices=InspectionKind)
    threshold = models.FloatField(null=True, blank=True)  # least similarity of a pair, of contamination only
    state = models.CharField(max_length=10, choices=InspectionState, default=InspectionState.QUEUED)
    basis = models.CharField(max_length=100, blank=True)  # which questions were compared: another one, another result
    result: models.JSONField[Any, Any] = models.JSONField(null=True)
    done = models.PositiveIntegerField(default=0)  # questions read so far, of `total`
    total = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)  # times someone took it up
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("project", "run", "kind", "threshold"),
                name="inspection_once_at_a_time",
                condition=Q(state__in=UNFINISHED),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="inspection_threshold_of_contamination",
                condition=Q(kind=InspectionKind.GATES, threshold__isnull=True, run__isnull=False)
                | Q(kind=InspectionKind.CONTAMINATION, threshold__isnull=False, threshold__gte=0.5, threshold__lte=1),
            ),
            models.CheckConstraint(
                name="inspection_done_has_result",
                condition=~Q(state=InspectionState.DONE) | Q(result__isnull=False, finished_at__isnull=False),
            ),
        )
        indexes = (
            models.Index(fields=("id",), name="inspection_to_do", condition=Q(state__in=UNFINISHED)),
            models.Index(fields=("project", "kind", "run", "-id"), name="inspection_latest"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.run.name if self.run else 'all trainable questions'}"

    @property
    def active(self) -> bool:
        return self.state in UNFINISHED

    @property
    def percent(self) -> int:
        return min(100, 100 * self.done // self.total) if self.total else 0


class GateCheck(models.Model):
    """What the gates found in the texts of one record, so that no export looks through the same texts again."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.CASCADE, related_name="+", db_index=False)
    content = models.BinaryField(max_length=16)  # digest of the texts, of what the gates know of them, and of the gates
    gates = models.PositiveIntegerField()  # a bit for each gate but `twin`, which depends on the records before
    twin = models.BigIntegerField()  # digest of the reasoning

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "path"), name="gate_check_of_record"),)

    def __str__(self) -> str:
        return f"path {self.path_id} in run {self.run_id}"


class PairScope(models.TextChoices):
    EVALUATION = "evaluation"  # `left` is examined, `right` stands in an evaluation set
    ITSELF = "itself"  # `left` is examined and stands in an evaluation set; `right` is the same
    WITHIN = "within"  # both are examined


class InspectionPair(models.Model):
    """Two questions that resemble each other, as an inspection found them."""

    inspection = models.ForeignKey(Inspection, on_delete=models.CASCADE, related_name="pairs")
    scope = models.CharField(max_length=10, choices=PairScope)
    left = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    right = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    exact = models.BooleanField()
    similarity = models.FloatField()  # 0 to 1

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("inspection", "left", "right"), name="inspection_pair_once"),
            models.CheckConstraint(
                name="inspection_pair_similarity", condition=Q(similarity__gte=0, similarity__lte=1)
            ),
            models.CheckConstraint(
                name="inspection_pair_itself",
                condition=Q(scope=PairScope.ITSELF, left=models.F("right"))
                | (~Q(scope=PairScope.ITSELF) & ~Q(left=models.F("right"))),
            ),
        )
        indexes = (models.Index(fields=("inspection", "scope", "id"), name="inspection_pair_place"),)

    def __str__(self) -> str:
        return f"{self.left_id} ~ {self.right_id}"
