"""How answers come to be: endpoints, prompts, the work still to do, and every call made."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.questions.models import Project, Question
from apps.reasoning.models import Run


class Endpoint(models.Model):
    """A model server as configured: the latest known definition, for pages and terms. Runs freeze their own copy."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="endpoints")
    name = models.CharField(max_length=60)
    model = models.CharField(max_length=200)
    base_url = models.CharField(max_length=500)
    terms = models.CharField(max_length=300, blank=True)  # licence or terms of the model's output
    simulated = models.BooleanField(default=False)  # configured as the simulator; a Call is marked by its fingerprint
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "name"), name="endpoint_name"),)

    def __str__(self) -> str:
        return self.name


class PromptVersion(models.Model):
    """A prompt's text by its hash, kept for ever so that any record can be walked back to it."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=60)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name}@{self.sha256[:12]}"


class CallStatus(models.TextChoices):
    OK = "ok"
    RETRIED = "retried"  # the attempt failed or was rejected; another was made
    FAILED = "failed"  # the attempt failed or was rejected, and no further one was made
    UNKNOWN = "unknown"  # sent, but who sent it died before the reply was booked: the worst case is counted


class Call(models.Model):
    """One attempt sent to a model; append-only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="calls", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    stage = models.CharField(max_length=20)
    item = models.CharField(max_length=80)  # which output of the question it was for: "qwen/2", "path:123"
    endpoint = models.CharField(max_length=60)
    model = models.CharField(max_length=200)
    prompt = models.CharField(max_length=64, blank=True)  # PromptVersion.sha256
    params = models.JSONField(default=dict)  # temperature, top_p, max_tokens
    seed = models.BigIntegerField(null=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=8, choices=CallStatus)
    error_class = models.CharField(max_length=20, blank=True)
    error = models.CharField(max_length=500, blank=True)
    excerpt = models.TextField(blank=True)  # the beginning of a reply that was rejected
    finish_reason = models.CharField(max_length=20, blank=True)
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)
    tokens_cached = models.PositiveIntegerField(null=True)
    cost = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    latency_ms = models.PositiveIntegerField(default=0)
    simulated = models.BooleanField(default=False)
    fingerprint = models.CharField(max_length=80, blank=True)  # the server's system_fingerprint
    created_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(fields=("run", "question"), name="call_of_question"),
            models.Index(
                fields=("run", "stage", "endpoint", "error_class", "created_at", "id"),
                name="call_failed",
                condition=~Q(error_class=""),
            ),
        )


class Reservation(models.Model):
    """Money set aside for an attempt about to be sent; gone once its Call is written. Only for priced endpoints.

    The id is that of the Call to be. One whose lease died becomes a Call with status `unknown`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="reservations")
    lease = models.UUIDField(db_index=True)  # PumpLease.id; the lease's row may be gone already
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    stage = models.CharField(max_length=20)
    item = models.CharField(max_length=80)
    endpoint = models.CharField(max_length=60)
    model = models.CharField(max_length=200)
    prompt = models.CharField(max_length=64, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    amount = models.DecimalField(max_digits=14, decimal_places=8)  # the most the attempt can cost
    created_at = models.DateTimeField()


class RunBudget(models.Model):
    """A run's money. spent + reserved never passes `hard`; `spent` holds unknown attempts at their worst case."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="money")
    hard = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    soft = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    spent = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    reserved = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    stopped_at = models.DateTimeField(null=True)  # when the hard budget paused the run
    short_of = models.DecimalField(max_digits=14, decimal_places=8, null=True)  # the cost of the call that did not fit

    class Meta:
        constraints = (
            models.CheckConstraint(name="run_budget_not_negative", condition=Q(spent__gte=0) & Q(reserved__gte=0)),
        )


class BudgetChange(models.Model):
    """Who set a run's budget to what; append-only."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="budget_changes")
    hard = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    soft = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)


class RateLimit(models.Model):
    """What all workers together may send to a provider's model. `key` is EndpointConfig.limit_key."""

    key = models.CharField(max_length=200, primary_key=True)
    next_request = models.DateTimeField()  # when the next request is due if all granted ones are sent evenly
    next_token = models.DateTimeField()  # when the tokens reserved and used so far are paid off
    blocked_until = models.DateTimeField(null=True)  # the provider asked everybody to wait
    updated_at = models.DateTimeField(auto_now=True)


class TaskState(models.TextChoices):
    IDLE = "idle"
    READY = "ready"
    LEASED = "leased"


class Task(models.Model):
    """What is to be done next for a unit (a question) in a lane (a stage on an endpoint: `verify@judge`).

    `wanted` rises whenever something the lane depends on changed; a lease records it in `seen`; finishing sets the
    task idle only if nothing was wanted since (compare and set), so no wake-up is lost.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    lane = models.CharField(max_length=90)
    unit_type = models.CharField(max_length=12, default="question")
    unit_id = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=TaskState, default=TaskState.READY)
    wanted = models.BigIntegerField(default=1)
    seen = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)  # leases given back unfinished because a model was not there
    not_before = models.DateTimeField(null=True)
    lease = models.ForeignKey("PumpLease", null=True, on_delete=models.SET_NULL, related_name="tasks", db_index=False)
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "lane", "unit_type", "unit_id"), name="task_unit"),
            models.CheckConstraint(
                name="task_leased_has_lease", condition=~Q(state=TaskState.LEASED) | Q(lease__isnull=False)
            ),
        )
        indexes = (
            models.Index(fields=("lane", "run", "id"), name="task_ready", condition=Q(state=TaskState.READY)),
            models.Index(fields=("lease",), name="task_leased", condition=Q(lease__isnull=False)),
        )


class PumpLease(models.Model):
    """A pump at work: its heartbeat keeps all tasks it leased. Its id is the token every flush must still hold."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    lane = models.CharField(max_length=90)
    slot = models.PositiveSmallIntegerField()  # 0 … wanted pumps of the lane - 1
    owner = models.CharField(max_length=120)  # host:pid:start time
    started_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("lane", "slot"), name="pump_slot"),)


class Failure(models.Model):
    """An output that could not be made: set aside with its reason until a person has it tried again."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="failures", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    stage = models.CharField(max_length=20)
    item = models.CharField(max_length=80)
    error_class = models.CharField(max_length=20)
    message = models.CharField(max_length=500, blank=True)
    call = models.ForeignKey(Call, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    resolved_at = models.DateTimeField(null=True)  # when it was tried again
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )  # none: from the command line
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("run", "question", "stage", "item"), name="failure_open", condition=Q(resolved_at__isnull=True)
            ),
        )
        indexes = (
            models.Index(
                fields=("run", "stage", "error_class", "id"),
                include=("item", "created_at"),
                name="failure_group",
                condition=Q(resolved_at__isnull=True),
            ),
            models.Index(fields=("run", "question"), name="failure_retried", condition=Q(resolved_at__isnull=False)),
        )


class ServerState(models.TextChoices):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"  # died; started again after a pause
    STOPPED = "stopped"  # not its turn, or serve_models ended


class ModelServer(models.Model):
    """A replica of an endpoint that `serve_models` looks after, as its supervisor last saw it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="servers")
    endpoint = models.CharField(max_length=60)
    replica = models.PositiveSmallIntegerField(default=0)
    host = models.CharField(max_length=120)  # where the supervisor runs
    url = models.CharField(max_length=300, blank=True)  # http://host:port/v1
    model = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=ServerState, default=ServerState.STARTING)
    pid = models.PositiveIntegerField(null=True)
    restarts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)
    log_tail = models.TextField(blank=True)
    metrics = models.JSONField(
        default=dict
    )  # the last reading: kv_use, running, waiting, preemptions, prefix_hit_rate, …
    history = models.JSONField(default=list)  # the readings before it, oldest first
    started_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()  # the supervisor's heartbeat: without one for 30 s the row means nothing

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "endpoint", "replica"), name="server_replica"),)


class BatchState(models.TextChoices):
    PREPARED = "prepared"  # its requests are written here, nothing is sent yet
    SUBMITTED = "submitted"
    TAKEN = "taken"  # every result is in the ledger
    FAILED = "failed"  # the provider took none of it


class BatchJob(models.Model):
    """A file of requests at a provider's Batch API. Its lease (a PumpLease) holds the tasks while it is away."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches")
    lane = models.CharField(max_length=90)
    lease = models.UUIDField()
    state = models.CharField(max_length=10, choices=BatchState, default=BatchState.PREPARED)
    file_id = models.CharField(max_length=120, blank=True)
    batch_id = models.CharField(max_length=120, blank=True)
    status = models.CharField(max_length=20, blank=True)  # the provider's word
    requests = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (models.Index(fields=("lane", "state"), name="batch_open"),)


class BatchRequest(models.Model):
    """One request of a batch; `custom_id` is the work's identity: run, question, stage, item and attempt."""

    job = models.ForeignKey(BatchJob, on_delete=models.CASCADE, related_name="items")
    custom_id = models.CharField(max_length=200)
    call = models.UUIDField()  # the Call to be, and its Reservation
    task = models.BigIntegerField()
    seen = models.BigIntegerField()
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    stage = models.CharField(max_length=20)
    item = models.CharField(max_length=80)
    attempt = models.PositiveSmallIntegerField(default=1)
    body = models.JSONField()
    done = models.BooleanField(default=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "custom_id"), name="batch_request"),)
