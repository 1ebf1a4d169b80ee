from django.contrib import admin

from apps.pipeline.models import Call, Endpoint, Failure, PromptVersion, PumpLease, Task
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
