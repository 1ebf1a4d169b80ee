"""Overview and runs."""

from django.urls import path, re_path

from apps.pipeline import budget_views, views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("runs/", views.runs, name="runs"),
    path("runs/new/", views.run_new, name="run_new"),
    path("runs/<int:run_id>/", views.run, name="run"),
    path("runs/<int:run_id>/budget/", budget_views.run_budget, name="run_budget"),
    path("runs/<int:run_id>/cancel/", views.run_cancel, name="run_cancel"),
    re_path(
        r"^runs/(?P<run_id>\d{1,18})/do/(?P<action>start|pause|resume|cancel)/$", views.run_action, name="run_action"
    ),
    re_path(r"^prompts/(?P<sha256>[0-9a-f]{64})/$", views.prompt, name="prompt"),
]
