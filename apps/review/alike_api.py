"""API: the same wrong claim in several paths of a question, judged once."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from apps.questions.api_access import LARGEST_ID, Problem, judging, signed_in
from apps.reasoning.api import RunQuestionOut, VerdictOut, path_in_run, question_in_run, run_named
from apps.reasoning.desk import read_desk
from apps.reasoning.models import ReasoningPath, Run
from apps.review.api import PreviewOut
from apps.review.api_answers import REFUSED, answered, row_named
from apps.review.compare.selectors import same_claim
from apps.review.compare.services import judge_alike, preview_alike
from apps.review.services import OverrideError

router = Router(tags=["review"], auth=judging)
MOST_PATHS = 30


class MatchOut(Schema):
    number: int = Field(description="Of the sentence in this path")
    text: str
    of: int = Field(description="The marked sentence that it is like")
    share: float = Field(description="Of their telling words, 0 to 1")


class ElsewhereOut(Schema):
    path: int
    name: str
    sentences: list[MatchOut]


class ClaimQuery(Schema):
    sentence: list[int] = Field(min_length=1, max_length=50, description="Numbers of the wrong sentences")


class PathIn(Schema):
    path: int = Field(ge=1, le=LARGEST_ID)
    sentences: list[int] = Field([], max_length=50)


class AlikeTarget(Schema):
    label: Literal["correct", "error"] = "error"
    paths: list[PathIn] = Field(min_length=1, max_length=MOST_PATHS, description="Of one question")


class AlikeIn(AlikeTarget):
    axes: dict[Literal["correctness", "coherence", "factuality"], bool]
    reason: str = Field(min_length=1, max_length=4_000)
    idempotency_key: UUID
    expected_version: int | None = None


class AlikeOut(Schema):
    verdicts: list[VerdictOut]
    question: RunQuestionOut
    summary: str
    replayed: bool


@router.get(
    "/runs/{run}/paths/{path_id}/same-claim",
    response={200: list[ElsewhereOut], 404: Problem, 422: Problem},
    summary="Paths that make the same claim",
)
def read_same_claim(request: HttpRequest, run: str, path_id: int, query: Query[ClaimQuery]) -> list[dict[str, Any]]:
    """The path itself first; sentences count as the same by the share of telling words they have in common."""
    path = path_in_run(run_named(request, run), path_id)
    desk = read_desk(row_named(request, run, path.question.uid))
    found = same_claim(desk, desk.views[path.pk], query.sentence) if path.pk in desk.views else []
    return [{"path": e.view.path.pk, "name": e.view.name, "sentences": list(e.matches)} for e in found]


@router.post(
    "/runs/{run}/joint-verdicts/preview", response={200: PreviewOut, **REFUSED}, summary="What they would change"
)
@answered
def preview_joint(request: HttpRequest, run: str, body: AlikeTarget) -> Any:
    found = run_named(request, run)
    paths = list(_paths(found, body))
    return preview_alike(run=found, paths=paths, reviewer=signed_in(request), label=body.label)


@router.post(
    "/runs/{run}/joint-verdicts",
    response={201: AlikeOut, 200: AlikeOut, **REFUSED},
    summary="One verdict on several paths, all or none",
)
@answered
def post_joint(request: HttpRequest, run: str, body: AlikeIn) -> Any:
    found = run_named(request, run)
    done = judge_alike(
        run=found,
        sentences=_paths(found, body),
        by=signed_in(request),
        **body.model_dump(exclude={"paths"}),
    )
    answer = {
        "verdicts": done.verdicts,
        "question": question_in_run(found, done.row.question.uid),
        "summary": done.summary,
        "replayed": done.replayed,
    }
    return Status(200 if done.replayed else 201, answer)


def _paths(run: Run, body: AlikeTarget) -> dict[ReasoningPath, list[int]]:
    """404 for a path that is not there; OverrideError for one named twice, or of another question."""
    found = {path_in_run(run, said.path): said.sentences for said in body.paths}
    if len(found) < len(body.paths):
        raise OverrideError("Name each path once.", field="paths")
    if len({path.question_id for path in found}) > 1:
        raise OverrideError("These paths answer different questions.", field="paths")
    return found
