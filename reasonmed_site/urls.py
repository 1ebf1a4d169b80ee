"""Addresses. Each app owns its pages in `apps/<app>/urls.py`."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

urlpatterns = [
    path("", include("apps.pipeline.urls")),
    path("questions/", include("apps.questions.urls")),  # before reasoning's questions/<uid>/
    path("", include("apps.reasoning.urls")),
    path("review/", include("apps.review.urls")),
    path("exports/", include("apps.exports.urls")),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=False), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
