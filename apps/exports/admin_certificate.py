from django.contrib import admin

from apps.exports.models_certificate import Certification, SampleClaim, SampleJudgment, SampleRecord
from apps.questions.admin_access import ReadOnlyAdmin


@admin.register(Certification)
class CertificationAdmin(ReadOnlyAdmin):
    list_display = ("id", "snapshot", "state", "size", "overlap", "created_by", "created_at", "closed_at")
    list_select_related = ("snapshot__run", "created_by")
    list_filter = ("state",)


@admin.register(SampleRecord)
class SampleRecordAdmin(ReadOnlyAdmin):
    list_display = ("id", "certification_id", "position", "number", "stratum", "done", "outcome")
    list_filter = ("outcome",)


@admin.register(SampleClaim)
class SampleClaimAdmin(ReadOnlyAdmin):
    list_display = ("id", "record_id", "reviewer", "state", "slot", "version", "expires_at")
    list_select_related = ("reviewer",)
    list_filter = ("state",)


@admin.register(SampleJudgment)
class SampleJudgmentAdmin(ReadOnlyAdmin):
    list_display = ("id", "record_id", "reviewer", "round", "wrong", "current", "created_at")
    list_select_related = ("reviewer",)
    list_filter = ("wrong", "current")
