"""Addresses of practice, below review/practice/."""

from django.urls import path

from apps.review.practice import views

urlpatterns = [
    path("", views.practice, name="practice"),
    path("skip/", views.skip, name="practice_skip"),
    path("<int:number>/", views.item, name="practice_item"),
    path("<int:number>/judge/", views.judge, name="practice_judge"),
    path("<int:number>/next/", views.go_on, name="practice_next"),
]
