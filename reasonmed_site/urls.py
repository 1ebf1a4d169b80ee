"""Addresses. Each app owns its pages in `apps/<app>/urls.py`."""

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
