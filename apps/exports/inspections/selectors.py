"""Reads for the pages of quality and contamination and the API: kept results only, nothing is looked for here."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from apps.exports.models_checks import Inspection, InspectionPair, InspectionState
from apps.questions.models import ImportBatch, Project
from apps.reasoning.models import Run


@dataclass(frozen=True, slots=True)
class Latest:
    """`done` is the newest whole result, `current` the newest order where it is not that one: waiting, being made or failed."""

    done: Inspection | None
    current: Inspection | None

    @property
    def active(self) -> bool:
        return self.current is not None and self.current.active

    @property
    def newest(self) -> Inspection | None:
        return self.current or self.done


def latest_inspection(project: Project, kind: str, run: Run | None) -> Latest:
    """Two reads of one index."""
    asked = Inspection.objects.filter(project=project, kind=kind, run=run).select_related("run").order_by("-id")
    newest = asked.first()
    if newest is None or newest.state == InspectionState.DONE:
        return Latest(newest, None)
    return Latest(asked.filter(state=InspectionState.DONE).first(), newest)


def imported_since(inspection: Inspection) -> bool:
    """Questions came since it was ordered, so there may be more to compare with."""
    return ImportBatch.objects.filter(created_at__gt=inspection.created_at).exists()


def pairs_after(inspection: Inspection, scope: str, after: int) -> QuerySet[InspectionPair]:
    """Closest first, from behind `after` on (keyset). Ordered as its index is, so that others' pairs are not walked through."""
    pairs = inspection.pairs.filter(scope=scope, id__gt=after).order_by("inspection_id", "scope", "id")
    return pairs.select_related("left__benchmark", "right__benchmark").defer(
        "left__search", "right__search", "left__explanation", "right__explanation", "left__meta", "right__meta"
    )
