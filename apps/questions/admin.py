from django.contrib import admin
from django.contrib.auth.models import User

from apps.questions.admin_access import KeptAdmin, PeopleAdmin, ReadOnlyAdmin
from apps.questions.models import Benchmark, ImportBatch, Project, Question

admin.site.unregister(User)
admin.site.register(User, PeopleAdmin)


@admin.register(Project)
class ProjectAdmin(KeptAdmin):
    list_display = ("name", "slug", "created_at")
    filter_horizontal = ("members",)


@admin.register(Benchmark)
class BenchmarkAdmin(KeptAdmin):
    list_display = ("name", "slug", "project", "licence")
    list_select_related = ("project",)


@admin.register(ImportBatch)
class ImportBatchAdmin(ReadOnlyAdmin):
    list_display = ("file_name", "benchmark", "split", "created_at")
    list_select_related = ("benchmark",)
    list_filter = ("benchmark",)


@admin.register(Question)
class QuestionAdmin(ReadOnlyAdmin):
    list_display = ("uid", "benchmark", "split", "subject", "held_out", "blocked")
    list_select_related = ("benchmark",)
    list_filter = ("benchmark", "split", "held_out", "blocked")
    search_fields = ("uid__startswith",)
    ordering = ("id",)
