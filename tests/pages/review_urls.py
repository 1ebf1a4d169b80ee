"""The site with the review screen, for its tests as long as the site does not link it."""

from django.urls import include, path

urlpatterns = [path("review/", include("apps.review.screen.urls")), path("", include("reasonmed_site.urls"))]
