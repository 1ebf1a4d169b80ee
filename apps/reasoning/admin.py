from django.contrib import admin

from apps.questions.admin_access import ReadOnlyAdmin
from apps.reasoning.models import (
    PathLabel,
    RankScore,
    ReasoningPath,
    Response,
    Run,
    RunCounter,
    RunQuestion,
    Selection,
    Verdict,
)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "state", "allow_held_out", "created_by", "created_at")
    list_select_related = ("project", "created_by")
    list_filter = ("state",)
    search_fields = ("name",)


@admin.register(RunCounter)
class RunCounterAdmin(ReadOnlyAdmin):
    list_display = ("run", "key", "shard", "value")
    list_select_related = ("run",)
    search_fields = ("key",)


@admin.register(RunQuestion)
class RunQuestionAdmin(ReadOnlyAdmin):
    list_display = ("run", "question", "state", "reason", "tier", "error_count", "records", "version")
    list_select_related = ("run", "question")
    list_filter = ("run", "state", "tier")
    search_fields = ("question__uid",)
    ordering = ("id",)


@admin.register(ReasoningPath)
class ReasoningPathAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "question", "origin", "generator", "sample", "revision", "answer", "current")
    list_select_related = ("run", "question")
    list_filter = ("run", "origin")
    search_fields = ("question__uid",)
    ordering = ("id",)


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    list_display = ("id", "path_id", "run", "source", "reviewer", "label", "counts", "current", "created_at")
    list_select_related = ("run", "reviewer")
    list_filter = ("source", "label")
    search_fields = ("=path__id", "reviewer__username")
    ordering = ("-id",)


@admin.register(PathLabel)
class PathLabelAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "path_id", "label", "source", "judge_label", "overridden", "disputed")
    list_select_related = ("run",)
    list_filter = ("run", "label")
    search_fields = ("=path__id",)
    ordering = ("id",)


@admin.register(RankScore)
class RankScoreAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "path_id", "score")
    list_select_related = ("run",)
    search_fields = ("=path__id",)
    ordering = ("id",)


@admin.register(Selection)
class SelectionAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "question", "slot", "source_id", "path_id", "why", "current")
    list_select_related = ("run", "question")
    search_fields = ("question__uid",)
    ordering = ("id",)


@admin.register(Response)
class ResponseAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "path_id", "revision", "answer", "author", "current")
    list_select_related = ("run", "author")
    search_fields = ("=path__id",)
    ordering = ("id",)
