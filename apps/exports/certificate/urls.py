"""Certificates: one of an export, planning it, the screen on which its records are judged, its end."""

from django.urls import path

from apps.exports.certificate import judging_views as judging
from apps.exports.certificate import views

urlpatterns = [
    path("<uuid:export_id>/certificate/", views.certificate, name="certificate"),
    path("<uuid:export_id>/certificate/new/", views.certificate_new, name="certificate_new"),
    path("certificates/<int:study_id>/close/", views.certificate_close, name="certificate_close"),
    path("certificates/<int:study_id>/release/", views.certificate_release, name="certificate_release"),
    path("certificates/<int:study_id>/judge/", judging.certificate_work, name="certificate_work"),
    path("certificates/<int:study_id>/undo/", judging.certificate_undo, name="certificate_undo"),
    path("certificates/<int:study_id>/alive/", judging.certificate_alive, name="certificate_alive"),
    path("certificates/records/<int:record_id>/", judging.certificate_record, name="certificate_record"),
    path("certificates/records/<int:record_id>/judge/", judging.certificate_judge, name="certificate_judge"),
    path("certificates/records/<int:record_id>/skip/", judging.certificate_skip, name="certificate_skip"),
]
