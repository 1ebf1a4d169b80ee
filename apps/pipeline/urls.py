"""Overview and runs."""

from django.urls import path

from apps.pipeline import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("runs/", views.runs, name="runs"),
    path("runs/<int:run_id>/", views.run, name="run"),
]
