"""Exports: the list, a new one, one with its files."""

from django.urls import include, path

from apps.exports import as_of_views, compare_views, publish_views, views

urlpatterns = [
    path("", include("apps.exports.certificate.urls")),
    path("", views.exports, name="exports"),
    path("new/", views.export_new, name="export_new"),
    path("compare/", compare_views.export_compare, name="export_compare"),
    path("", include("apps.exports.inspections.urls")),
    path("<uuid:export_id>/", views.export, name="export"),
    path("of/<int:run_id>/<str:uid>/", as_of_views.question_snapshots, name="question_snapshots"),
    path("<uuid:export_id>/records/<int:number>/", as_of_views.snapshot_record, name="snapshot_record"),
    path("<uuid:export_id>/publish/", publish_views.export_publish, name="export_publish"),
    path("<uuid:export_id>/discard/", publish_views.export_discard, name="export_discard"),
    path("<uuid:export_id>/files/<str:name>", views.export_file, name="export_file"),
]
