from django.contrib import admin

from apps.questions.admin_access import ReadOnlyAdmin
from apps.review.models import Claim, Judgment, QuestionFlag, QueueCount, QueueItem, ReviewQueue, ReviewSettings, Skip
from apps.review.models_records import Comment, Mention, ReasonMark, RecordDecision, RecordOverride


@admin.register(ReviewQueue)
class ReviewQueueAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "run",
        "state",
        "size",
        "overlap",
        "blind",
        "counts",
        "practice",
        "created_by",
        "created_at",
    )
    list_select_related = ("run", "created_by")
    list_filter = ("state", "counts", "practice")
    search_fields = ("name",)


@admin.register(QueueItem)
class QueueItemAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "queue",
        "position",
        "path_id",
        "stratum",
        "inclusion_probability",
        "done",
        "open",
        "set_aside",
    )
    list_select_related = ("queue",)
    list_filter = ("queue",)
    search_fields = ("=path__id",)
    ordering = ("id",)


@admin.register(Claim)
class ClaimAdmin(ReadOnlyAdmin):
    list_display = ("id", "item_id", "reviewer", "state", "slot", "version", "claimed_at", "expires_at")
    list_select_related = ("reviewer",)
    list_filter = ("state",)
    search_fields = ("=item__id", "reviewer__username")
    ordering = ("-id",)


@admin.register(Judgment)
class JudgmentAdmin(ReadOnlyAdmin):
    """Without the time at work: that is the person's own, others see it as an aggregate only."""

    list_display = ("id", "item_id", "reviewer", "round", "phase", "blind", "harm", "flagged", "created_at")
    list_select_related = ("reviewer",)
    list_filter = ("phase", "blind")
    search_fields = ("=item__id", "reviewer__username")
    exclude = ("active_ms",)
    ordering = ("-id",)


@admin.register(Skip)
class SkipAdmin(ReadOnlyAdmin):
    list_display = ("id", "item_id", "reason", "created_at")
    list_filter = ("reason",)
    ordering = ("-id",)


@admin.register(QuestionFlag)
class QuestionFlagAdmin(ReadOnlyAdmin):
    list_display = ("id", "question", "kind", "reviewer", "state", "created_at", "resolved_by", "resolved_at")
    list_select_related = ("question", "reviewer", "resolved_by")
    list_filter = ("state", "kind")
    search_fields = ("question__uid",)
    ordering = ("-id",)


@admin.register(QueueCount)
class QueueCountAdmin(ReadOnlyAdmin):
    list_display = ("id", "__str__")


@admin.register(ReviewSettings)
class ReviewSettingsAdmin(ReadOnlyAdmin):
    list_display = ("user", "single_keys", "units", "text_size")
    list_select_related = ("user",)


@admin.register(RecordOverride, RecordDecision, ReasonMark, Comment, Mention)
class SaidAdmin(ReadOnlyAdmin):
    """What people decide about records and write to each other."""

    list_display = ("id", "__str__")
    ordering = ("-id",)
