"""What was answered and judged: runs, paths, verdicts, labels, choices and summaries."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.questions.models import Benchmark, Project, Question

Slots = models.PositiveSmallIntegerField


class Label(models.TextChoices):
    CORRECT = "correct"
    ERROR = "error"
    UNJUDGED = "unjudged"


class Tier(models.TextChoices):
    EASY = "easy"
    MEDIUM = "medium"
    DIFFICULT = "difficult"


class Origin(models.TextChoices):
    GENERATED = "generated"
    IMPORTED = "imported"
    REFINED = "refined"
    REGENERATED = "regenerated"


BASE_ORIGINS = (Origin.GENERATED, Origin.IMPORTED)


class RunState(models.TextChoices):
    READY = "ready"  # configured, not started
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"  # nothing left to do; work that appears later (an override) sets it running again


class QuestionState(models.TextChoices):
    WAITING = "waiting"
    READY = "ready"  # every record it will give can be exported
    EXCLUDED = "excluded"


class Run(models.Model):
    """A frozen configuration applied to a set of questions. `config` is `apps.pipeline.config.RunConfig` as JSON."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="runs")
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=RunState, default=RunState.READY)
    config = models.JSONField()
    config_hash = models.CharField(max_length=64)
    paths_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="judged_by")
    allow_held_out = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("project", "name"), name="run_name_in_project"),)

    def __str__(self) -> str:
        return self.name

    @property
    def paths_run_id(self) -> int:
        """The run whose generated or imported paths this one judges: itself, or `paths_from`."""
        return self.paths_from_id or self.pk


class RunCounter(models.Model):
    """A live counter of a run, spread over shards so that pumps do not queue for one row; sum the shards to read.

    Keys: `questions`, `tier:<tier>`, `errors:<n>`, `state:<state>:<reason>`, `benchmark:<id>:<state>`,
    `paths:<origin>`, `labels:<label>`, `stage:<stage>` (outputs done), `calls`, `calls:<stage>`,
    `calls:<lane>`, `failed:<error class>`, `contradictions`, `overridden`. Money in 1e-8 of the currency: `cost_e8` with
    `cost_e8:stage:<stage>`, `cost_e8:endpoint:<name>`, `cost_e8:tier:<tier, or none>`, `cost_e8:wasted` (attempts that
    gave no output), `cost_e8:unknown`; tokens by endpoint: `tokens_in:`, `tokens_out:`, `tokens_cached:<name>`.
    `worker:<name>`: calls by who made them, which no other row tells.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="counters")
    key = models.CharField(max_length=80)
    shard = models.PositiveSmallIntegerField(default=0)
    value = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "key", "shard"), name="run_counter_shard"),)


class RunQuestion(models.Model):
    """A question in a run: what lists and filters read. Only `reasoning.services.assess_questions` changes it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="questions", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="in_runs")
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=QuestionState, default=QuestionState.WAITING)
    reason = models.CharField(max_length=40, default="generate")  # why it waits or is excluded; empty when ready
    pattern = models.CharField(
        max_length=32, blank=True
    )  # one letter a path in slot order: C E U D(isputed) -(missing)
    answers = models.CharField(max_length=32, blank=True)  # the answers extracted, in the same order; - for none
    error_count = models.PositiveSmallIntegerField(null=True)  # set together with the tier
    tier = models.CharField(max_length=10, choices=Tier, blank=True)
    hold = models.BooleanField(default=False)  # an override made outputs stale; nothing is re-made until confirmed
    contradictions = models.PositiveSmallIntegerField(default=0)  # judge says Correct, the answer is not the key
    overridden = models.BooleanField(default=False)
    disputed = models.BooleanField(default=False)
    records = models.PositiveSmallIntegerField(default=0)  # records it gives when ready
    cost = models.DecimalField(max_digits=14, decimal_places=8, default=0)  # of its calls in this run
    version = models.PositiveIntegerField(default=0)  # rises with every change
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "question"), name="run_question"),
            models.CheckConstraint(
                name="run_question_tier_with_count",
                condition=Q(tier="", error_count__isnull=True) | (~Q(tier="") & Q(error_count__isnull=False)),
            ),
            models.CheckConstraint(
                name="run_question_reason_unless_ready",
                condition=Q(state=QuestionState.READY, reason="") | (~Q(state=QuestionState.READY) & ~Q(reason="")),
            ),
        )
        indexes = (
            models.Index(fields=("run", "tier", "question"), name="rq_tier"),
            models.Index(fields=("run", "state", "reason", "question"), name="rq_state"),
            models.Index(fields=("run", "error_count", "question"), name="rq_errors"),
            models.Index(fields=("run", "benchmark", "question"), name="rq_benchmark"),
            models.Index(fields=("run", "pattern", "question"), name="rq_pattern"),
            models.Index(fields=("run", "question"), name="rq_overridden", condition=Q(overridden=True)),
            models.Index(fields=("run", "question"), name="rq_contradiction", condition=Q(contradictions__gt=0)),
            models.Index(fields=("run", "question"), name="rq_disputed", condition=Q(disputed=True)),
        )


class ReasoningPath(models.Model):
    """One chain of thought, belonging to the run that made or imported it.

    `generator` is the generator's name in the run's configuration ("" for a regenerated path), `sample` is 1-based.
    A refined path has the generator and sample of its parent. One with an `author` was written by that person.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="paths", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="paths", db_index=False)
    origin = models.CharField(max_length=12, choices=Origin)
    generator = models.CharField(max_length=60, blank=True)
    sample = Slots(default=1)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    revision = Slots(default=1)
    current = models.BooleanField(default=True)
    raw = models.TextField(blank=True)  # the reply as it came (reasoning_content first, in think tags, where apart)
    text = models.TextField()  # the cleaned path, as people and judges read it
    answer = models.CharField(max_length=1, blank=True)  # the letter extracted; "" when none is stated
    answer_how = models.CharField(max_length=20, blank=True)  # which rule found it
    finish_reason = models.CharField(max_length=20, blank=True)
    model = models.CharField(max_length=200, blank=True)
    temperature = models.FloatField(null=True)
    seed = models.BigIntegerField(null=True)
    call = models.ForeignKey("pipeline.Call", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("run", "question", "origin", "generator", "sample", "parent", "revision"),
                name="path_identity",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                fields=("run", "question", "origin", "generator", "sample"),
                name="path_current_in_slot",
                condition=Q(current=True),
            ),
            models.CheckConstraint(
                name="path_refined_has_parent",
                condition=~Q(origin=Origin.REFINED) | Q(parent__isnull=False),
            ),
        )
        indexes = (
            models.Index(fields=("question", "run"), name="path_of_question"),
            models.Index(fields=("run", "id"), name="path_in_run"),
            models.Index(
                fields=("run", "origin", "id"),
                name="path_rewritten",
                condition=Q(origin__in=(Origin.REFINED, Origin.REGENERATED)),
            ),
            models.Index(fields=("run", "id"), name="path_cut_off", condition=Q(finish_reason="length")),
            models.Index(fields=("run", "id"), name="path_no_answer", condition=Q(answer="")),
        )

    def __str__(self) -> str:
        return f"{self.question_id}/{self.generator or self.origin}#{self.sample}"

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"


class VerdictSource(models.TextChoices):
    JUDGE = "judge"
    PERSON = "person"
    ADJUDICATION = "adjudication"


class Verdict(models.Model):
    """One judgment of one path; append-only (only `current` is ever lowered).

    A judge's belongs to (judging run, path, round); a person's to the path, and counts in every run of the project
    that uses it. Label is Correct exactly when all three axes pass. A person's `unjudged` takes back what they said;
    what only measures (`counts` false) never replaces what counts. The table has one more column, `reason_words`: the
    reason's words for `path_selectors`, generated by the database, which no query of the model reads.
    """

    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="verdicts")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="verdicts", db_index=False)
    project = models.ForeignKey(Project, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    source = models.CharField(max_length=12, choices=VerdictSource)
    round = Slots(default=1)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="verdicts")
    label = models.CharField(max_length=10, choices=Label)
    correctness = models.BooleanField(null=True)
    coherence = models.BooleanField(null=True)
    factuality = models.BooleanField(null=True)
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict, blank=True)  # structured reasons, sentences, cited numbers
    counts = models.BooleanField(default=True)  # False: it only measures (calibration, practice, demo)
    current = models.BooleanField(default=True)
    replaces = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    idempotency_key = models.UUIDField(null=True, unique=True)
    call = models.ForeignKey("pipeline.Call", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="verdict_label_matches_axes",
                condition=(
                    Q(label=Label.CORRECT, correctness=True, coherence=True, factuality=True)
                    | (
                        Q(label=Label.ERROR)
                        & Q(correctness__isnull=False, coherence__isnull=False, factuality__isnull=False)
                        & ~Q(correctness=True, coherence=True, factuality=True)
                    )
                    | Q(label=Label.UNJUDGED, correctness__isnull=True, coherence__isnull=True, factuality__isnull=True)
                ),
            ),
            models.CheckConstraint(
                name="verdict_by_judge_or_person",
                condition=(
                    Q(source=VerdictSource.JUDGE, run__isnull=False, reviewer__isnull=True)
                    | (~Q(source=VerdictSource.JUDGE) & Q(reviewer__isnull=False, project__isnull=False))
                ),
            ),
            models.UniqueConstraint(
                fields=("run", "path", "round"), name="verdict_judge_round", condition=Q(source=VerdictSource.JUDGE)
            ),
            models.UniqueConstraint(
                fields=("run", "path"),
                name="verdict_judge_current",
                condition=Q(source=VerdictSource.JUDGE, current=True),
            ),
            models.UniqueConstraint(
                fields=("project", "path", "reviewer", "source", "counts"),
                name="verdict_person_current",
                condition=~Q(source=VerdictSource.JUDGE) & Q(current=True),
            ),
        )


class PathLabel(models.Model):
    """The effective label of a path in a run: adjudication, else people, else the run's judge.

    Kept by `assess_questions`; what the Paths page filters by.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="labels", db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="labels")
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    label = models.CharField(max_length=10, choices=Label)
    source = models.CharField(max_length=12, choices=VerdictSource, blank=True)
    judge_label = models.CharField(max_length=10, choices=Label, blank=True)
    contradiction = models.BooleanField(default=False)
    overridden = models.BooleanField(default=False)
    disputed = models.BooleanField(default=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "path"), name="path_label"),)
        indexes = (
            models.Index(fields=("run", "question"), name="pl_question"),
            models.Index(fields=("run", "label", "path"), name="pl_label"),
            models.Index(fields=("run", "path"), name="pl_contradiction", condition=Q(contradiction=True)),
            models.Index(fields=("run", "path"), name="pl_overridden", condition=Q(overridden=True)),
            models.Index(fields=("run", "path"), name="pl_disputed", condition=Q(disputed=True)),
        )


class RankScore(models.Model):
    """The Quality Ranker's score of a path in a run, 0–5."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="scores", db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="scores")
    score = models.PositiveSmallIntegerField()
    justification = models.TextField(blank=True)
    call = models.ForeignKey("pipeline.Call", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "path"), name="rank_score"),
            models.CheckConstraint(name="rank_score_0_to_5", condition=Q(score__lte=5)),
        )


class Selection(models.Model):
    """What a question keeps: `source` was chosen for the slot, `path` is what leaves (the source or its rewriting)."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="selections", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    slot = Slots()  # 1, 2
    source = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="+", null=True, db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="selections", null=True)
    why = models.CharField(max_length=200)
    current = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("run", "question", "slot"), name="selection_current", condition=Q(current=True)
            ),
        )
        indexes = (models.Index(fields=("run", "question"), name="selection_of_question"),)


class Response(models.Model):
    """The summary of a kept path, as it leaves; revisions keep what a person replaced or what was made again."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="responses", db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="responses")
    revision = Slots(default=1)
    current = models.BooleanField(default=True)
    text = models.TextField()
    answer = models.CharField(max_length=1, blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    call = models.ForeignKey("pipeline.Call", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "path", "revision"), name="response_revision"),
            models.UniqueConstraint(fields=("run", "path"), name="response_current", condition=Q(current=True)),
        )
