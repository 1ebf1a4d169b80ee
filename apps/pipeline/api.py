"""API: what went wrong in a run, and having it tried again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from apps.pipeline.failures import Endpoints, Group, groups_aside, groups_of_attempts, open_failures
from apps.pipeline.models import Failure
from apps.pipeline.retries import Selection, retry_failures
from apps.pipeline.services import RunError
from apps.questions.api_access import (
    LARGEST_ID,
    After,
    PageSize,
    Problem,
    Slice,
    curating,
    reading,
    signed_in,
    slice_by,
)
from apps.reasoning.api import run_named

router = Router(tags=["failures"], auth=reading)


class FailureGroupOut(Schema):
    stage: str = Field(alias="place.stage")
    endpoint: str = Field(alias="place.endpoint")
    error_class: str = Field(alias="place.error_class")
    count: int
    lane_calls: int | None = Field(description="All calls of the stage on the endpoint; only for attempts")
    first_at: datetime
    last_at: datetime
    meaning: str = Field(alias="place.words.meaning")
    advice: str = Field(alias="place.words.advice")


class FailureGroups(Schema):
    set_aside: list[FailureGroupOut] = Field(description="Outputs no attempt could make")
    attempts: list[FailureGroupOut] = Field(description="Calls that gave no output; most are made good by the next")


class FailureOut(Schema):
    id: int
    question: str = Field(alias="question.uid")
    stage: str
    endpoint: str
    item: str = Field(description="Which output of the question: `qwen/2`, `path:123`, `path:123/1`, `new:1/1`")
    error_class: str
    message: str = Field(description="The server’s words, or what was wrong with the reply")
    excerpt: str = Field(description="The beginning of the last reply, where there was one that was not accepted")
    created_at: datetime

    @staticmethod
    def resolve_excerpt(failure: Failure) -> str:
        return failure.call.excerpt if failure.call else ""


class FailureQuery(Schema):
    stage: str = Field("", max_length=20)
    endpoint: str = Field("", max_length=60)
    error_class: str = Field("", max_length=20)
    after: int = After
    limit: int = PageSize


class RetryIn(Schema):
    """All that is said must hold. `all` is for everything that was set aside."""

    stage: str = Field("", max_length=20)
    endpoint: str = Field("", max_length=60)
    error_class: str = Field("", max_length=20)
    failures: list[int] = Field([], max_length=10_000, description="Ids")
    all: bool = False


class RetryOut(Schema):
    failures: int = Field(description="Outputs that will be tried again")
    questions: int
    at_work: int = Field(description="Of the questions, those that have work again")


@router.get(
    "/runs/{run}/failures/groups",
    response={200: FailureGroups, 404: Problem},
    summary="Failures by stage, endpoint, class",
)
def list_failure_groups(request: HttpRequest, run: str) -> dict[str, list[Group]]:
    found = run_named(request, run)
    return {"set_aside": groups_aside(found), "attempts": groups_of_attempts(found)}


@router.get("/runs/{run}/failures", response={200: Slice[FailureOut], 404: Problem}, summary="Outputs set aside, by id")
def list_failures(request: HttpRequest, run: str, query: Query[FailureQuery]) -> dict[str, Any]:
    """Those not tried again yet."""
    found = run_named(request, run)
    wanted = {name: _text(getattr(query, name)) for name in ("stage", "endpoint", "error_class")}
    rows = open_failures(found, **wanted).select_related("question", "call")
    page = slice_by(rows.defer("question__search"), "id", after=query.after, limit=query.limit)
    known = Endpoints(found)
    for failure in page["items"]:
        failure.endpoint = known.name(failure.stage, failure.item)
    return page


@router.post(
    "/runs/{run}/failures/retry",
    auth=curating,
    response={200: RetryOut, 404: Problem, 409: Problem, 422: Problem},
    summary="Try outputs again",
)
def post_retry(request: HttpRequest, run: str, body: RetryIn) -> Any:
    """Asking twice is harmless: what is no longer set aside is left alone. 409: the run is cancelled."""
    found = run_named(request, run)
    chosen = Selection(_text(body.stage), _text(body.endpoint), _text(body.error_class), _ids(body.failures))
    if body.all != chosen.everything:
        return Status(422, {"detail": "Say which outputs, or `all`: true for every one, not both.", "field": "all"})
    try:
        return retry_failures(run=found, by=signed_in(request), **chosen.as_arguments())
    except RunError as error:
        return Status(409, {"detail": str(error), "field": "run"})


def _text(value: str) -> str:
    return value.replace("\x00", "")


def _ids(values: list[int]) -> tuple[int, ...]:
    return tuple(value if 0 < value <= LARGEST_ID else 0 for value in values)
