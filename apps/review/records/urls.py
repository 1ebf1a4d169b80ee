"""What people change about records, and what waits to be made again."""

from django.urls import path, re_path

from apps.review.records import stale_views, views

urlpatterns = [
    re_path(
        r"^runs/(?P<run_id>\d{1,18})/questions/(?P<uid>[^/]+)/change/(?P<kind>tier|choice|response|path|return|exclude|withdraw)/$",
        views.change,
        name="record_change",
    ),
    path("runs/<int:run_id>/questions/<str:uid>/record/<int:slot>/accept/", views.accept, name="record_accept"),
    path("runs/<int:run_id>/stale/", stale_views.stale, name="stale"),
]
