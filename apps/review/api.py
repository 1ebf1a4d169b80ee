"""API: overriding a verdict, and what that would change."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from apps.questions.api_access import Problem, judging, signed_in
from apps.reasoning.api import RunQuestionOut, VerdictOut, path_in_run, question_in_run, run_named
from apps.review.services import OverrideError, VersionConflict, override_verdict, preview_override

router = Router(tags=["review"], auth=judging)


class OverrideIn(Schema):
    label: Literal["correct", "error"]
    correctness: bool = Field(description="Correct exactly when all three pass")
    coherence: bool
    factuality: bool
    reason: str = Field(min_length=1, max_length=20_000)
    idempotency_key: UUID | None = Field(None, description="The same request sent again is saved once")
    expected_version: int | None = Field(None, description="`version` of the question as you saw it; 409 if it changed")


class OverrideOut(Schema):
    verdict: VerdictOut
    question: RunQuestionOut
    summary: str
    replayed: bool = Field(description="This request had been saved before; nothing was written")


class VersionProblem(Problem):
    version: int = Field(description="The question's version now")


class PreviewOut(Schema):
    summary: str
    tier_before: str
    tier_after: str
    errors_before: int | None
    errors_after: int | None
    records_changed: int
    remade: dict[str, int] = Field(description="Outputs to be made again, by stage")
    hold: bool = Field(description="Nothing is made again before someone confirms")


@router.post(
    "/runs/{run}/paths/{path_id}/override",
    response={201: OverrideOut, 200: OverrideOut, 404: Problem, 409: VersionProblem, 422: Problem},
    summary="Override: a new verdict beside the others",
)
def post_override(request: HttpRequest, run: str, path_id: int, body: OverrideIn) -> Any:
    """The tier follows at once; outputs that became stale wait until someone confirms. 200 for a repeated request."""
    found = run_named(request, run)
    path = path_in_run(found, path_id)
    try:
        done = override_verdict(run=found, path=path, reviewer=signed_in(request), **body.model_dump())
    except OverrideError as error:
        return Status(422, {"detail": str(error), "field": error.field})
    except VersionConflict as error:
        return Status(409, {"detail": str(error), "field": "expected_version", "version": error.current.version})
    answer = {
        "verdict": done.verdict,
        "question": question_in_run(found, path.question.uid),
        "summary": done.summary,
        "replayed": done.replayed,
    }
    return Status(200 if done.replayed else 201, answer)


@router.get(
    "/runs/{run}/paths/{path_id}/override-preview",
    response={200: PreviewOut, 404: Problem, 422: Problem},
    summary="What an override would change",
)
def read_override_preview(request: HttpRequest, run: str, path_id: int, label: Literal["correct", "error"]) -> Any:
    found = run_named(request, run)
    path = path_in_run(found, path_id)
    try:
        return preview_override(run=found, path=path, reviewer=signed_in(request), label=label)
    except OverrideError as error:
        return Status(422, {"detail": str(error), "field": error.field})
