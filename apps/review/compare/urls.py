"""Paths compared, and the same claim in several of them."""

from django.urls import path

from apps.review.compare import views

urlpatterns = [
    path("runs/<int:run_id>/questions/<str:uid>/compare/", views.compare, name="compare"),
    path("runs/<int:run_id>/questions/<str:uid>/compare/reason/", views.settle_reason, name="settle_reason"),
    path("runs/<int:run_id>/questions/<str:uid>/alike/", views.alike, name="alike"),
]
