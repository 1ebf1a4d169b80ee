"""What was imported; the list and the page of a question belong to `apps.reasoning`, which knows their paths."""

from django.urls import path

from apps.questions import views

urlpatterns = [
    path("composition/", views.composition, name="composition"),
    path("conflicts/", views.conflicts, name="key_conflicts"),
    path("held-out/", views.held_out, name="held_out"),
]
