"""A candidate's two ends, as a curator decides: published under a name, or discarded."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from apps.exports.errors import ExportRefusedError
from apps.exports.publishing import discard_candidate, publish_snapshot
from apps.exports.selectors import snapshots_of
from apps.exports.views import export_page
from apps.questions.access import CURATOR, project_of, role_required


@role_required(CURATOR)
@require_POST
def export_publish(request: HttpRequest, export_id: UUID) -> HttpResponse:
    snapshot = get_object_or_404(snapshots_of(project_of(request)), pk=export_id)
    name = request.POST.get("name", "")
    try:
        publish_snapshot(snapshot=snapshot, name=name, by=request.user if isinstance(request.user, User) else None)
    except ExportRefusedError as error:
        return export_page(request, snapshot, problem=str(error), name=name)
    messages.success(request, f"Published as {snapshot.name}.")
    return redirect("export", snapshot.pk)


@role_required(CURATOR)
@require_POST
def export_discard(request: HttpRequest, export_id: UUID) -> HttpResponse:
    snapshot = get_object_or_404(snapshots_of(project_of(request)), pk=export_id)
    said = str(snapshot)
    try:
        discard_candidate(snapshot=snapshot)
    except ExportRefusedError as error:
        return export_page(request, snapshot, problem=str(error))
    messages.success(request, f"{said} was discarded.")
    return redirect("exports")
