from django.contrib import admin

from apps.exports.models import Snapshot, SnapshotOmission, SnapshotRecord
from apps.exports.models_checks import GateCheck, Inspection, InspectionPair
from apps.exports.models_downloads import Download
from apps.questions.admin_access import ReadOnlyAdmin


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "run", "state", "format", "records", "simulated", "created_by", "created_at")
    list_select_related = ("run", "created_by")
    list_filter = ("state",)
    search_fields = ("name", "run__name")


@admin.register(SnapshotRecord)
class SnapshotRecordAdmin(ReadOnlyAdmin):
    list_display = ("snapshot_id", "number", "question_id", "slot", "path_id", "response_id", "tier")
    ordering = ("id",)


@admin.register(SnapshotOmission)
class SnapshotOmissionAdmin(ReadOnlyAdmin):
    list_display = ("snapshot_id", "question_id", "slot", "state", "reason")
    ordering = ("id",)


@admin.register(Inspection)
class InspectionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "kind", "state", "threshold", "created_by", "created_at", "finished_at")
    list_select_related = ("run", "created_by")
    list_filter = ("kind", "state")


@admin.register(GateCheck)
class GateCheckAdmin(ReadOnlyAdmin):
    list_display = ("run_id", "path_id", "gates")
    ordering = ("id",)


@admin.register(InspectionPair)
class InspectionPairAdmin(ReadOnlyAdmin):
    list_display = ("inspection_id", "scope", "left_id", "right_id", "exact", "similarity")
    ordering = ("id",)


@admin.register(Download)
class DownloadAdmin(ReadOnlyAdmin):
    list_display = ("at", "export", "file", "start", "by")
    list_select_related = ("by",)
    search_fields = ("export", "file", "by__username")


from apps.exports import admin_certificate as admin_certificate  # noqa: E402 - one app, two files of its admin
