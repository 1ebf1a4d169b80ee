"""Addresses of the review screen, below review/."""

from django.urls import path

from apps.review.screen import home, settings, views

urlpatterns = [
    path("", home.home, name="review_home"),
    path("start/", home.start, name="review_start"),
    path("settings/", settings.save_settings, name="review_settings"),
    path("sitting/", views.sitting_end, name="review_sitting"),
    path("queues/<int:queue_id>/", views.work, name="review_work"),
    path("queues/<int:queue_id>/alive/", views.alive, name="review_alive"),
    path("queues/<int:queue_id>/undo/", views.undo_latest, name="review_undo_last"),
    path("items/<int:item_id>/", views.item, name="review_item"),
    path("items/<int:item_id>/judge/", views.judge, name="review_judge"),
    path("items/<int:item_id>/keep/", views.keep, name="review_keep"),
    path("items/<int:item_id>/undo/", views.undo, name="review_undo"),
    path("items/<int:item_id>/skip/", views.skip, name="review_skip"),
    path("items/<int:item_id>/flag/", views.flag, name="review_flag"),
]
