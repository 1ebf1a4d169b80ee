"""API: what quality gates and contamination found in a run, and ordering a new look."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import Http404, HttpRequest
from ninja import Field, Query, Router, Schema, Status

from apps.exports.contamination.scan import HIGHEST, LOWEST, THRESHOLD
from apps.exports.errors import ExportRefusedError
from apps.exports.inspections.selectors import latest_inspection, pairs_after
from apps.exports.inspections.services import order_inspection
from apps.exports.models_checks import Inspection, InspectionKind
from apps.questions.access import project_of
from apps.questions.api_access import After, PageSize, Problem, Slice, curating, reading, signed_in, slice_by
from apps.reasoning.api import run_named
from apps.reasoning.models import Run

router = Router(tags=["quality"], auth=reading)


class InspectionOut(Schema):
    id: int
    kind: str = Field(description="gates or contamination")
    state: str = Field(description="queued, running, done or failed")
    threshold: float | None
    result: dict[str, Any] | None
    done: int = Field(description="Questions read so far")
    total: int
    error: str
    created_at: datetime
    finished_at: datetime | None


class LatestOut(Schema):
    """`done` is the newest whole result; `current` a newer order that waits, is being made or failed."""

    done: InspectionOut | None
    current: InspectionOut | None


class PairOut(Schema):
    id: int
    scope: str
    exact: bool
    similarity: float
    left: str = Field(alias="left.uid")
    right: str = Field(alias="right.uid")


class PairQuery(Schema):
    scope: Literal["evaluation", "itself", "within"] = "evaluation"
    after: int = After
    limit: int = PageSize


class ContaminationIn(Schema):
    threshold: float = Field(THRESHOLD, ge=LOWEST, le=HIGHEST, description="Least similarity of a pair")


Ordered = {201: InspectionOut, 404: Problem, 422: Problem}


@router.get("/runs/{run}/quality", response={200: LatestOut, 404: Problem}, summary="What the quality gates found")
def read_quality(request: HttpRequest, run: str) -> Any:
    """Counts and samples by gate, as kept by the latest look through the run's records."""
    return latest_inspection(project_of(request), InspectionKind.GATES, run_named(request, run))


@router.post("/runs/{run}/quality", auth=curating, response=Ordered, summary="Look through the records again")
def post_quality(request: HttpRequest, run: str) -> Any:
    """A worker makes it; read it again until `current` is null."""
    return _order(request, InspectionKind.GATES, run_named(request, run))


@router.get("/runs/{run}/contamination", response={200: LatestOut, 404: Problem}, summary="Contamination of a run")
def read_contamination(request: HttpRequest, run: str) -> Any:
    """`not_compared` names evaluation sets that are not in the database: nothing is known about them."""
    return latest_inspection(project_of(request), InspectionKind.CONTAMINATION, run_named(request, run))


@router.post("/runs/{run}/contamination", auth=curating, response=Ordered, summary="Compare a run's questions again")
def post_contamination(request: HttpRequest, run: str, body: ContaminationIn) -> Any:
    return _order(request, InspectionKind.CONTAMINATION, run_named(request, run), body.threshold)


@router.get(
    "/runs/{run}/contamination/pairs", response={200: Slice[PairOut], 404: Problem}, summary="Pairs, closest first"
)
def list_pairs(request: HttpRequest, run: str, query: Query[PairQuery]) -> dict[str, Any]:
    return _pairs(request, run_named(request, run), query)


@router.get(
    "/contamination", response={200: LatestOut, 404: Problem}, summary="Contamination of all trainable questions"
)
def read_all_contamination(request: HttpRequest) -> Any:
    return latest_inspection(project_of(request), InspectionKind.CONTAMINATION, None)


@router.post("/contamination", auth=curating, response=Ordered, summary="Compare all trainable questions again")
def post_all_contamination(request: HttpRequest, body: ContaminationIn) -> Any:
    return _order(request, InspectionKind.CONTAMINATION, None, body.threshold)


@router.get("/contamination/pairs", response={200: Slice[PairOut], 404: Problem}, summary="Pairs, closest first")
def list_all_pairs(request: HttpRequest, query: Query[PairQuery]) -> dict[str, Any]:
    return _pairs(request, None, query)


def _order(request: HttpRequest, kind: str, run: Run | None, threshold: float | None = None) -> Any:
    try:
        made = order_inspection(
            project=project_of(request), kind=kind, run=run, threshold=threshold, by=signed_in(request)
        )
    except ExportRefusedError as error:
        return Status(422, {"detail": str(error), "field": ""})
    return Status(201, made)


def _pairs(request: HttpRequest, run: Run | None, query: PairQuery) -> dict[str, Any]:
    done: Inspection | None = latest_inspection(project_of(request), InspectionKind.CONTAMINATION, run).done
    if done is None:
        raise Http404("Nothing was looked for yet.")
    return slice_by(pairs_after(done, query.scope, 0), "id", after=query.after, limit=query.limit)
