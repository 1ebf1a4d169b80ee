"""What is asked: projects, benchmarks, questions and the files they came from."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Cast, Upper

LETTERS = "ABCDEFGHIJ"


class Split(models.TextChoices):
    TRAIN = "train"
    DEV = "dev"
    VAL = "val"
    VALIDATION = "validation"
    TEST = "test"
    LABELLED = "labelled"


class Project(models.Model):
    """Who works together: members, runs, endpoints, snapshots, private benchmarks."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="projects", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Benchmark(models.Model):
    """A question set. Public ones (no project) are shared by all projects."""

    slug = models.SlugField(unique=True)  # medqa, medmcqa, pubmedqa, mmlu
    name = models.CharField(max_length=100)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT, related_name="benchmarks")
    licence = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.name


class ImportBatch(models.Model):
    """One imported file: what it was and what became of its rows."""

    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="batches")
    split = models.CharField(max_length=20, blank=True)
    file_name = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    report = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.file_name} ({self.created_at:%Y-%m-%d})"


class QuestionQuerySet(models.QuerySet["Question"]):
    def canonical(self) -> QuestionQuerySet:
        """One question of each duplicate group."""
        return self.filter(canonical__isnull=True)

    def trainable(self) -> QuestionQuerySet:
        """Questions a run may generate on and export without `--allow-held-out`."""
        return self.filter(held_out=False)

    def unflagged(self) -> QuestionQuerySet:
        """Without the import flags that keep a question out of runs by default."""
        return self.filter(blocked=False)

    def visible_to(self, project: Project) -> QuestionQuerySet:
        return self.filter(Q(benchmark__project__isnull=True) | Q(benchmark__project=project))


class Question(models.Model):
    """One multiple-choice question. `options` is a list of texts; `key` indexes the gold one (0-based)."""

    uid = models.CharField(max_length=120, unique=True)  # stable, leaves the system: pubmedqa-21645374
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="questions")
    batch = models.ForeignKey(ImportBatch, null=True, on_delete=models.PROTECT, related_name="questions")
    split = models.CharField(max_length=20, choices=Split)
    subject = models.CharField(max_length=120, blank=True)
    topic = models.CharField(max_length=300, blank=True)
    source_id = models.CharField(max_length=80, blank=True)  # PMID, MedMCQA id
    occurrence = models.PositiveIntegerField(default=0)  # nth row with the same content in one split and subject
    contexts = models.JSONField(default=list, blank=True)  # [{"label": "METHODS", "text": "…"}]
    stem = models.TextField()
    options = models.JSONField()  # ["first option", …]
    key = models.PositiveSmallIntegerField()
    explanation = models.TextField(blank=True)  # for clinicians only, never for a model
    meta = models.JSONField(default=dict, blank=True)  # what the source says beyond this (year, MeSH, choice_type, …)
    fingerprint = models.CharField(max_length=32)  # stem + options
    stem_fingerprint = models.CharField(max_length=32)
    held_out = models.BooleanField(default=False)
    canonical = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="duplicates")
    flags = models.JSONField(default=list, blank=True)  # ["key_text_repeated", "conflicting_key", …]
    blocked = models.BooleanField(default=False)  # a flag keeps it out of runs by default
    created_at = models.DateTimeField(auto_now_add=True)
    search = models.GeneratedField(
        expression=SearchVector("stem", Cast("options", models.TextField()), config="english"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects: ClassVar[models.Manager[Question]] = QuestionQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(name="question_stem_not_empty", condition=~Q(stem="")),
            models.CheckConstraint(
                name="question_not_its_own_canonical", condition=Q(canonical__isnull=True) | ~Q(canonical=F("id"))
            ),
            models.CheckConstraint(
                name="question_key_within_options",
                condition=Q(
                    key__lt=models.Func(F("options"), function="jsonb_array_length", output_field=models.IntegerField())
                ),
            ),
        )
        indexes = (
            models.Index(fields=("benchmark", "split", "id"), name="question_by_split"),
            models.Index(Upper("subject"), "id", name="question_by_subject"),
            models.Index(fields=("fingerprint",), name="question_fingerprint"),
            models.Index(fields=("stem_fingerprint",), name="question_stem_fingerprint"),
            models.Index(fields=("canonical",), name="question_canonical", condition=Q(canonical__isnull=False)),
            models.Index(fields=("id",), name="question_flagged", condition=~Q(flags=[])),
            models.Index(fields=("id",), name="question_held_out", condition=Q(held_out=True)),
            GinIndex(fields=("search",), name="question_search"),
        )

    def __str__(self) -> str:
        return self.uid

    @property
    def key_letter(self) -> str:
        return LETTERS[self.key]

    @property
    def key_text(self) -> str:
        return str(self.options[self.key])

    @property
    def lettered(self) -> list[tuple[str, str]]:
        """[("A", "first option"), …]"""
        return list(zip(LETTERS, self.options, strict=False))
