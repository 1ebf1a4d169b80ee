from django.contrib import admin

from apps.pipeline.models import (
    BatchJob,
    BatchRequest,
    BudgetChange,
    Call,
    Endpoint,
    Failure,
    ModelServer,
    PromptVersion,
    PumpLease,
    RateLimit,
    Reservation,
    RunBudget,
    Task,
)
from apps.questions.admin_access import ReadOnlyAdmin


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "model", "terms", "simulated")
    list_select_related = ("project",)


@admin.register(PromptVersion)
class PromptVersionAdmin(ReadOnlyAdmin):
    list_display = ("name", "sha256", "created_at")


@admin.register(Call)
class CallAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "question", "stage", "item", "model", "attempt", "status", "error_class", "cost")
    list_select_related = ("run", "question")
    list_filter = ("run", "stage")
    search_fields = ("=id", "question__uid")
    ordering = ("id",)


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "lane", "unit_id", "state", "wanted", "seen", "attempts", "last_error")
    list_select_related = ("run",)
    list_filter = ("run", "state")
    search_fields = ("=unit_id",)
    ordering = ("id",)


@admin.register(PumpLease)
class PumpLeaseAdmin(ReadOnlyAdmin):
    list_display = ("lane", "slot", "owner", "started_at", "expires_at")


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    list_display = ("run", "question", "stage", "item", "error_class", "created_at", "resolved_at")
    list_select_related = ("run", "question")
    list_filter = ("run", "stage", "error_class")
    ordering = ("-id",)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "question", "stage", "item", "endpoint", "attempt", "amount", "created_at")
    list_select_related = ("run", "question")
    list_filter = ("run", "stage")
    ordering = ("-created_at",)


@admin.register(RunBudget)
class RunBudgetAdmin(ReadOnlyAdmin):
    list_display = ("run", "hard", "soft", "spent", "reserved", "stopped_at", "short_of")
    list_select_related = ("run",)


@admin.register(BudgetChange)
class BudgetChangeAdmin(ReadOnlyAdmin):
    list_display = ("run", "hard", "soft", "by", "at")
    list_select_related = ("run", "by")
    list_filter = ("run",)
    ordering = ("-id",)


@admin.register(RateLimit)
class RateLimitAdmin(ReadOnlyAdmin):
    list_display = ("key", "next_request", "next_token", "blocked_until", "updated_at")


@admin.register(ModelServer)
class ModelServerAdmin(ReadOnlyAdmin):
    list_display = ("endpoint", "replica", "project", "state", "host", "url", "restarts", "seen_at")
    list_select_related = ("project",)
    list_filter = ("project", "state")


@admin.register(BatchJob)
class BatchJobAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "lane", "state", "status", "requests", "completed", "failed", "created_at")
    list_select_related = ("run",)
    list_filter = ("run", "state")
    ordering = ("-created_at",)


@admin.register(BatchRequest)
class BatchRequestAdmin(ReadOnlyAdmin):
    list_display = ("custom_id", "job", "stage", "item", "attempt", "done")
    list_select_related = ("job",)
    list_filter = ("done",)
    search_fields = ("=custom_id",)
    ordering = ("-id",)
