"""API: exports and their files."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Field, Query, Router, Schema, Status

from apps.exports.comparing import Kind, Why, comparable, differences, summarise
from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.downloads import send_file
from apps.exports.errors import ExportRefusedError
from apps.exports.models import Snapshot
from apps.exports.preview import preview_export
from apps.exports.publishing import discard_candidate, publish_snapshot
from apps.exports.records import Variant
from apps.exports.selectors import snapshot_called, snapshots_before, snapshots_of
from apps.exports.services import create_export
from apps.exports.sidecars import all_files_of
from apps.exports.writers import Format
from apps.questions.access import project_of
from apps.questions.api_access import PageSize, Problem, Slice, curating, reading, signed_in
from apps.reasoning.api import run_named
from apps.reasoning.models import Tier

router = Router(tags=["exports"], auth=reading)


class FileOut(Schema):
    path: str
    sha256: str
    records: int
    bytes: int
    url: str


class ExportOut(Schema):
    id: UUID
    name: str = Field(description="Its own for ever once published; before that, the run's with a number")
    run: str = Field(alias="run.name")
    state: str = Field(description="queued, building, done or failed")
    variants: list[str]
    format: str
    choices: dict[str, Any] = Field(
        alias="config", description="What was asked for beyond that; {} before there were any"
    )
    records: int = Field(description="In each set")
    questions: int
    done_questions: int
    bytes: int = Field(description="Of all files but the manifest")
    simulated: bool | None
    held_out: bool | None
    error: str
    created_at: datetime
    finished_at: datetime | None
    published: bool
    published_at: datetime | None

    @staticmethod
    def resolve_name(snapshot: Snapshot) -> str:
        return str(snapshot)


class ExportDetail(ExportOut):
    files: list[FileOut] = Field(
        description="Everything to fetch, the manifest and its certificate with their signatures too"
    )
    manifest: dict[str, Any] | None

    @staticmethod
    def resolve_files(snapshot: Snapshot) -> list[dict[str, Any]]:
        return [
            {**f, "url": reverse("api-1:export_file", args=(snapshot.pk, f["path"]))} for f in all_files_of(snapshot)
        ]


class ExportIn(Schema):
    run: str = Field(max_length=100)
    variants: list[Variant] = Field(min_length=1)
    format: Format = "jsonl"
    config: ExportConfig = Field(
        DEFAULT, description="What it holds, and what its gates and policies do; see docs/gates.md"
    )


class LeftOutOut(Schema):
    state: str = Field(description="excluded or waiting")
    reason: str
    questions: int


class BenchmarkOut(Schema):
    benchmark: str
    questions: int
    exported: int
    records: int
    tiers: dict[str, int] = Field(description="Questions exported")


class PreviewOut(Schema):
    questions: int = Field(description="Of the run: exported and left out together")
    exported: int
    left_out: list[LeftOutOut]
    records: int = Field(description="In each set")
    records_left_out: dict[str, int] = Field(description="Of exported questions, by reason")
    by_benchmark: list[BenchmarkOut]
    refusal: str = Field(description="Why the export would be refused; empty where it would not")
    more_to_come: bool = Field(description="Gates or contamination leave out more while it is built")


class CompareQuery(Schema):
    a: str = Field(max_length=120, description="The earlier one, by its name or as <run>.<number>")
    b: str = Field(max_length=120, description="The later one")
    kind: Kind | Literal[""] = ""
    why: Why | Literal[""] = ""
    after: str = Field("", max_length=30, description="`next` of the page before")
    limit: int = PageSize


class SideOut(Schema):
    number: int | None = Field(description="Its place in each set; none where that snapshot holds no such record")
    tier: str
    errors: int | None
    path: int | None
    path_words: str
    response_revision: int | None
    state: str = Field(description="Why there is none, where the snapshot says so: excluded or waiting")
    reason: str


class DifferenceOut(Schema):
    question: str = Field(alias="uid")
    slot: int
    kind: Kind
    why: Why
    before: SideOut
    after: SideOut


class WhyOut(Schema):
    kind: Kind
    why: Why
    records: int


class ComparisonOut(Schema):
    a: str
    b: str
    records_a: int
    records_b: int
    same: int
    counts: list[WhyOut]
    items: list[DifferenceOut]
    next: str | None


class PublishIn(Schema):
    name: str = Field(max_length=200, description="As reasonmed-2026.1; never given twice in a project")


class ExportQuery(Schema):
    after: UUID | None = Field(None, description="`next` of the page before")
    limit: int = PageSize


@router.get("/exports", response={200: Slice[ExportOut]}, summary="Exports, newest first")
def list_exports(request: HttpRequest, query: Query[ExportQuery]) -> dict[str, Any]:
    found = list(snapshots_before(project_of(request), query.after)[: query.limit + 1])
    shown = found[: query.limit]
    return {"items": shown, "next": str(shown[-1].pk) if len(found) > query.limit else None}


@router.post(
    "/exports", auth=curating, response={201: ExportDetail, 404: Problem, 422: Problem}, summary="Order an export"
)
def post_export(request: HttpRequest, body: ExportIn) -> Any:
    """A worker builds it; read it again until `state` is done or failed."""
    run = run_named(request, body.run)
    try:
        made = create_export(
            run=run, variants=body.variants, format=body.format, config=body.config, created_by=signed_in(request)
        )
    except ExportRefusedError as error:
        return Status(422, {"detail": str(error), "field": ""})
    return Status(201, made)


@router.get(
    "/exports/compare",
    response={200: ComparisonOut, 404: Problem, 422: Problem},
    summary="Records added, removed and changed between two snapshots, and why",
)
def compare_exports(request: HttpRequest, query: Query[CompareQuery]) -> Any:
    project = project_of(request)
    a, b = snapshot_called(project, query.a), snapshot_called(project, query.b)
    if a is None or b is None:
        raise Http404("No such snapshot.")
    if why_not := comparable(a, b):
        return Status(422, {"detail": why_not, "field": ""})
    found = summarise(a, b)
    page = differences(a, b, kind=query.kind, why=query.why, cursor=query.after, limit=query.limit)
    return {
        "a": str(a),
        "b": str(b),
        "records_a": found.before,
        "records_b": found.after,
        "same": found.same,
        "counts": [{"kind": kind, "why": why, "records": n} for kind, why, n in found.lines],
        "items": page.rows,
        "next": page.after,
    }


@router.post(
    "/exports/preview",
    auth=curating,
    response={200: PreviewOut, 404: Problem},
    summary="What an export would hold if it were built now",
)
def post_preview(request: HttpRequest, body: ExportIn) -> dict[str, Any]:
    """The counts a build makes of the same ledger, but for what gates and contamination leave out. Nothing is written."""
    preview = preview_export(run_named(request, body.run), body.config)
    return {
        "questions": preview.questions,
        "exported": preview.ready,
        "left_out": [{"state": s, "reason": r, "questions": n} for s, r, n in preview.reasons],
        "records": preview.records,
        "records_left_out": preview.records_left_out,
        "by_benchmark": [
            {"benchmark": r.benchmark, "questions": r.questions, "exported": r.ready, "records": r.records}
            | {"tiers": {tier: r.tiers[tier] for tier in Tier.values}}
            for r in preview.rows.values()
        ],
        "refusal": preview.refusal,
        "more_to_come": preview.more_to_come,
    }


@router.get("/exports/{export_id}", response={200: ExportDetail, 404: Problem}, summary="One export with its manifest")
def read_export(request: HttpRequest, export_id: UUID) -> Snapshot:
    return get_object_or_404(snapshots_of(project_of(request)), pk=export_id)


@router.post(
    "/exports/{export_id}/publish",
    auth=curating,
    response={200: ExportDetail, 404: Problem, 422: Problem},
    summary="Publish a candidate under a name",
)
def post_publish(request: HttpRequest, export_id: UUID, body: PublishIn) -> Any:
    """The name is the snapshot's for ever; a published one is never changed or deleted."""
    snapshot = read_export(request, export_id)
    try:
        return publish_snapshot(snapshot=snapshot, name=body.name, by=signed_in(request))
    except ExportRefusedError as error:
        return Status(422, {"detail": str(error), "field": "name"})


@router.delete(
    "/exports/{export_id}",
    auth=curating,
    response={204: None, 404: Problem, 422: Problem},
    summary="Discard a candidate with its files",
)
def delete_export(request: HttpRequest, export_id: UUID) -> Any:
    try:
        discard_candidate(snapshot=read_export(request, export_id))
    except ExportRefusedError as error:
        return Status(422, {"detail": str(error), "field": ""})
    return Status(204, None)


@router.get(
    "/exports/{export_id}/files/{name}",
    url_name="export_file",
    response={200: None, 404: Problem},
    summary="Download a file",
)
def read_export_file(request: HttpRequest, export_id: UUID, name: str) -> HttpResponseBase:
    """Resumable (`Range`, `If-Range`); `ETag` is the file's sha256."""
    return send_file(request, get_object_or_404(snapshots_of(project_of(request)), pk=export_id), name)
