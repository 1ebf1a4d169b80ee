"""API: runs, their questions, the paths and what was judged of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema

from apps.questions.access import project_of
from apps.questions.api_access import After, PageSize, Problem, Slice, reading, slice_by
from apps.reasoning.models import (
    BASE_ORIGINS,
    PathLabel,
    QuestionState,
    ReasoningPath,
    Run,
    RunQuestion,
    Tier,
    Verdict,
    VerdictSource,
)
from apps.reasoning.selectors import run_status

router = Router(tags=["runs"], auth=reading)


class RunOut(Schema):
    run: str = Field(alias="name")
    state: str
    allow_held_out: bool
    paths_from: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @staticmethod
    def resolve_paths_from(run: Run) -> str | None:
        return run.paths_from.name if run.paths_from else None


class RunDetail(RunOut):
    config: dict[str, Any]
    config_hash: str


class RunStatus(Schema):
    run: str
    state: str
    questions: int
    tiers: dict[str, int]
    exported_ready: int
    excluded: dict[str, int]
    waiting: dict[str, int]
    calls: int
    failed_calls: int
    cost: str = Field(description="A decimal number, in the currency of the endpoints' prices")


class RunQuestionOut(Schema):
    question: str = Field(alias="question.uid")
    benchmark: str = Field(alias="benchmark.slug")
    state: str
    reason: str = Field(description="Why it waits or is excluded; empty when ready")
    pattern: str = Field(description="A letter a path: C orrect, E rror, U njudged, D isputed, - not there yet")
    answers: str = Field(description="The answer a path states, in the same order; - for none")
    error_count: int | None
    tier: str
    contradictions: int
    overridden: bool
    disputed: bool
    records: int
    version: int = Field(description="Rises with every change; send it with an override")


class PathOut(Schema):
    id: int
    question: str = Field(alias="question.uid")
    origin: str
    generator: str
    sample: int
    revision: int
    parent: int | None = Field(alias="parent_id")
    model: str
    temperature: float | None
    text: str
    answer: str = Field(description="The letter the path states; empty when it states none")
    finish_reason: str
    label: str = Field(description="The effective label in this run; unjudged until there is one")
    label_source: str = Field(description="judge, person or adjudication")
    disputed: bool

    @staticmethod
    def resolve_label(path: ReasoningPath) -> str:
        found = _label_of(path)
        return found.label if found else "unjudged"

    @staticmethod
    def resolve_label_source(path: ReasoningPath) -> str:
        found = _label_of(path)
        return found.source if found else ""

    @staticmethod
    def resolve_disputed(path: ReasoningPath) -> bool:
        found = _label_of(path)
        return bool(found and found.disputed)


class VerdictOut(Schema):
    id: int
    path: int = Field(alias="path_id")
    source: str
    reviewer: str | None
    round: int
    label: str
    correctness: bool | None
    coherence: bool | None
    factuality: bool | None
    reason: str
    counts: bool
    current: bool
    replaces: int | None = Field(alias="replaces_id")
    created_at: datetime

    @staticmethod
    def resolve_reviewer(verdict: Verdict) -> str | None:
        return verdict.reviewer.get_username() if verdict.reviewer else None


class PageQuery(Schema):
    after: int = After
    limit: int = PageSize


class RunQuestionQuery(PageQuery):
    state: QuestionState | None = None
    tier: Tier | None = None
    benchmark: str = Field("", max_length=60)


@router.get("/runs", response={200: Slice[RunOut]}, summary="Runs, by id")
def list_runs(request: HttpRequest, query: Query[PageQuery]) -> dict[str, Any]:
    rows = project_of(request).runs.select_related("paths_from").defer("config", "paths_from__config")
    return slice_by(rows, "id", after=query.after, limit=query.limit)


@router.get("/runs/{run}", response={200: RunDetail, 404: Problem}, summary="A run with its configuration")
def read_run(request: HttpRequest, run: str) -> Run:
    return run_named(request, run)


@router.get("/runs/{run}/status", response={200: RunStatus, 404: Problem}, summary="Where a run stands")
def read_run_status(request: HttpRequest, run: str) -> dict[str, Any]:
    return run_status(run_named(request, run))


@router.get("/runs/{run}/questions", response={200: Slice[RunQuestionOut], 404: Problem}, summary="Questions of a run")
def list_run_questions(request: HttpRequest, run: str, query: Query[RunQuestionQuery]) -> dict[str, Any]:
    rows = RunQuestion.objects.filter(run=run_named(request, run)).select_related("question", "benchmark")
    if query.state:
        rows = rows.filter(state=query.state)
    if query.tier:
        rows = rows.filter(tier=query.tier)
    if query.benchmark:
        rows = rows.filter(benchmark__slug=query.benchmark)
    rows = rows.only(*_OWN_FIELDS, "question__uid", "benchmark__slug")
    return slice_by(rows, "question_id", after=query.after, limit=query.limit)


@router.get("/runs/{run}/questions/{uid}", response={200: RunQuestionOut, 404: Problem}, summary="A question in a run")
def read_run_question(request: HttpRequest, run: str, uid: str) -> RunQuestion:
    return question_in_run(run_named(request, run), uid)


@router.get(
    "/runs/{run}/questions/{uid}/paths", response={200: list[PathOut], 404: Problem}, summary="Its current paths"
)
def list_paths(request: HttpRequest, run: str, uid: str) -> list[ReasoningPath]:
    """The paths that set the tier, in their order of making, then what this run rewrote."""
    found = run_named(request, run)
    row = question_in_run(found, uid)
    return list(paths_of(found).filter(question_id=row.question_id, current=True).order_by("id"))


@router.get("/runs/{run}/paths/{path_id}", response={200: PathOut, 404: Problem}, summary="One path")
def read_path(request: HttpRequest, run: str, path_id: int) -> ReasoningPath:
    return path_in_run(run_named(request, run), path_id)


@router.get(
    "/runs/{run}/paths/{path_id}/verdicts",
    response={200: list[VerdictOut], 404: Problem},
    summary="Every judgment of it",
)
def list_verdicts(request: HttpRequest, run: str, path_id: int) -> list[Verdict]:
    """The judge's in this run, all rounds, and people's in this project; replaced ones too (`current` is false)."""
    found = run_named(request, run)
    path = path_in_run(found, path_id)
    judged = Q(source=VerdictSource.JUDGE, run=found)
    said = ~Q(source=VerdictSource.JUDGE) & Q(project=found.project_id)
    return list(Verdict.objects.filter(judged | said, path=path).select_related("reviewer").order_by("id"))


def run_named(request: HttpRequest, name: str) -> Run:
    """A run of the person's project, or 404."""
    runs = project_of(request).runs.select_related("paths_from", "project")
    return get_object_or_404(runs, name=name.replace("\x00", ""))


def question_in_run(run: Run, uid: str) -> RunQuestion:
    rows = RunQuestion.objects.select_related("question", "benchmark").only(
        *_OWN_FIELDS, "question__uid", "benchmark__slug"
    )
    return get_object_or_404(rows, run=run, question__uid=uid.replace("\x00", ""))


def path_in_run(run: Run, path_id: int) -> ReasoningPath:
    """A path this run made, or one of those it judges, of a question that is in it; or 404."""
    return get_object_or_404(paths_of(run).filter(question__in_runs__run=run), pk=min(path_id, 2**63 - 1))


def paths_of(run: Run) -> QuerySet[ReasoningPath]:
    """With each path's label in the run as `run_labels`."""
    labels = Prefetch("labels", PathLabel.objects.filter(run=run), to_attr="run_labels")
    theirs = Q(run_id=run.paths_run_id, origin__in=BASE_ORIGINS)
    own = Q(run=run) & ~Q(origin__in=BASE_ORIGINS)
    rows = ReasoningPath.objects.filter(theirs | own).select_related("question").prefetch_related(labels)
    return rows.defer("raw", "question__search", "question__explanation", "question__meta")


def _label_of(path: ReasoningPath) -> PathLabel | None:
    found: list[PathLabel] = getattr(path, "run_labels", [])
    return found[0] if found else None


_OWN_FIELDS = (
    "run", "question", "benchmark", "state", "reason", "pattern", "answers", "error_count", "tier", "contradictions",
    "overridden", "disputed", "records", "version",
)  # fmt: skip
