"""Addresses of the curator's pages, below review/."""

from django.urls import path

from apps.review.curate import views

urlpatterns = [
    path("queues/", views.queues, name="review_queues"),
    path("queues/new/", views.queue_new, name="review_queue_new"),
    path("queues/<int:queue_id>/progress/", views.progress, name="review_queue"),
    path("queues/<int:queue_id>/close/", views.queue_close, name="review_queue_close"),
    path("queues/<int:queue_id>/state/", views.queue_state, name="review_queue_state"),
    path("queues/<int:queue_id>/release/", views.queue_release, name="review_queue_release"),
]
