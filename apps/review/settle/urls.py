"""Addresses below review/."""

from django.urls import path

from apps.review.settle import flag_views, views

urlpatterns = [
    path("settle/", views.home, name="settle"),
    path("settle/flags/", flag_views.flags, name="settle_flags"),
    path("settle/flags/<int:flag_id>/", flag_views.flag, name="settle_flag"),
    path("settle/<int:run_id>/<int:path_id>/", views.settle, name="settle_path"),
    path("flag/<int:run_id>/<str:uid>/<int:flag_id>/withdraw/", flag_views.withdraw, name="question_flag_withdraw"),
    path("flag/<int:run_id>/<str:uid>/", flag_views.flag_question_page, name="question_flag"),
]
