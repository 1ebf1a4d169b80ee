"""What people decide."""

from django.urls import include, path

from apps.review import views

urlpatterns = [
    path("", include("apps.review.screen.urls")),
    path("practice/", include("apps.review.practice.urls")),
    path("", include("apps.review.settle.urls")),
    path("", include("apps.review.curate.urls")),
    path("override/<int:run_id>/<int:path_id>/", views.override, name="override"),
    path("remake/<int:run_id>/<str:uid>/", views.remake, name="remake"),
]
