from django.contrib import admin

from apps.exports.models import Snapshot
from apps.questions.admin_access import ReadOnlyAdmin


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "run", "state", "format", "records", "simulated", "created_by", "created_at")
    list_select_related = ("run", "created_by")
    list_filter = ("state",)
    search_fields = ("run__name",)
