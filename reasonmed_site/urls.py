"""Addresses. Each app owns its pages in `apps/<app>/urls.py`."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from apps.exports.record_views import record
from apps.pipeline import failure_views
from apps.review import agreement_views
from reasonmed_site import health, metrics

urlpatterns = [
    path("", include("apps.pipeline.urls")),
    path("questions/", include("apps.questions.urls")),  # before reasoning's questions/<uid>/
    path("", include("apps.reasoning.urls")),
    path("runs/<int:run_id>/questions/<str:uid>/record/<int:slot>/", record, name="record"),
    path("runs/<int:run_id>/failures/", failure_views.failures, name="failures"),
    path("runs/<int:run_id>/failures/aside/", failure_views.failure_group, {"kind": "aside"}, name="failures_aside"),
    path(
        "runs/<int:run_id>/failures/attempts/",
        failure_views.failure_group,
        {"kind": "attempts"},
        name="failures_attempts",
    ),
    path("runs/<int:run_id>/failures/retry/", failure_views.failures_retry, name="failures_retry"),
    path("", include("apps.review.records.urls")),
    path("", include("apps.review.compare.urls")),
    path("", include("apps.review.comments.urls")),
    path("review/", include("apps.review.urls")),
    path("agreement/", agreement_views.agreement, name="agreement"),
    path("exports/", include("apps.exports.urls")),
    path("api/", include("reasonmed_site.api")),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("health/", health.health, name="health"),
    path("health/live/", health.live, name="health_live"),
    path("metrics/", metrics.metrics, name="metrics"),
    path("admin/", admin.site.urls),
]
