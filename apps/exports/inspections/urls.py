"""Quality and contamination, before an export."""

from django.urls import path

from apps.exports.inspections import views

urlpatterns = [
    path("quality/<int:run_id>/", views.quality, name="quality"),
    path("contamination/", views.contamination, name="contamination"),
    path("contamination/<int:run_id>/", views.contamination, name="run_contamination"),
    path("inspections/", views.inspection_order, name="inspection_order"),
]
