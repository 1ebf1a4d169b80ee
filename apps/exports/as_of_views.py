"""As of a snapshot: what it holds of a question, and each of its records at an address that stays."""

from __future__ import annotations

import json
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from apps.exports.as_of import describe, snapshots_with, texts_of
from apps.exports.models import ExportState, SnapshotRecord
from apps.exports.records import TITLES, VARIANTS, make_record
from apps.exports.selectors import snapshots_of
from apps.questions.access import CONSUMER, project_of, role_required
from apps.reasoning.models import RunQuestion


@role_required(CONSUMER)
@require_safe
def question_snapshots(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """Every snapshot of the run that holds the question or left it out."""
    project = project_of(request)
    rows = RunQuestion.objects.select_related("run", "question").defer("question__search")
    row = get_object_or_404(rows, run_id=run_id, run__project=project, question__uid=uid)
    found = snapshots_with(project, row.run, row.question)
    return render(request, "exports/as_of.html", {"run": row.run, "question": row.question, "found": found})


@role_required(CONSUMER)
@require_safe
def snapshot_record(request: HttpRequest, export_id: UUID, number: int) -> HttpResponse:
    """The record at that place of each set, as it left; `set` in the address chooses the variant."""
    snapshot = get_object_or_404(snapshots_of(project_of(request)), pk=export_id, state=ExportState.DONE)
    record = get_object_or_404(
        SnapshotRecord.objects.select_related("question__benchmark").defer("question__search"),
        snapshot=snapshot,
        number=number,
    )
    question, texts = record.question, texts_of(record.question, record)
    chosen = next((v for v in VARIANTS if v == request.GET.get("set") and v in snapshot.variants), snapshot.variants[0])
    text = make_record(chosen, question=question, cot=texts[0], response=texts[1]) if texts else None
    context = {
        "snapshot": snapshot,
        "record": record,
        "question": question,
        "held": describe(snapshot.run, question, record),
        "text": text,
        "json": json.dumps(text, ensure_ascii=False, indent=1) if text else "",
        "variant": chosen,
        "variants": [(v, TITLES[v]) for v in VARIANTS if v in snapshot.variants],
        "previous": number - 1 if number else None,
        "next": number + 1 if number + 1 < snapshot.records else None,
    }
    return render(request, "exports/as_of_record.html", context)
