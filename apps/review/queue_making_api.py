"""API: making a queue, and flagging a question wherever one comes across it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja import Field, Schema, Status

from apps.questions.access import project_of
from apps.questions.api_access import LARGEST_ID, curating, judging, signed_in
from apps.reasoning.api import run_named
from apps.review.api_answers import REFUSED, answered, question_named
from apps.review.queue_api import router as router  # one address lists queues and makes them: one router
from apps.review.queue_schemas import FlagIn, FlagOut, QueueOut
from apps.review.queues.build import Gold, build_queue
from apps.review.queues.errors import QueueError
from apps.review.queues.flags import flag_question
from apps.review.queues.plans import SamplingPlan
from apps.review.queues.preview import preview_plan


class PlanIn(Schema):
    run: str = Field(max_length=100)
    plan: SamplingPlan = SamplingPlan()


class StratumOut(Schema):
    name: str
    paths: int
    units: int = Field(description="Of `of` that would be drawn: paths, or whole questions")
    of: int | None
    probability: float | None = Field(description="None where the plan is no probability sample")


class PreviewPlanOut(Schema):
    size: int = Field(description="Paths; gold comes on top")
    questions: int
    strata: list[StratumOut]
    labels: dict[str, int] = Field(
        description="Of its paths, by what the judge said; what is to be expected of a sample"
    )
    about_paths: bool = Field(description="The draw decides how many paths; `size` is to be expected")
    about_questions: bool = Field(description="The draw decides how many questions; `questions` is to be expected")


class GoldIn(Schema):
    path: int = Field(ge=1, le=LARGEST_ID)
    label: Literal["correct", "error"]
    reason: str = Field("", max_length=4_000)


class MakeQueueIn(PlanIn):
    name: str = Field(min_length=1, max_length=100)
    overlap: int = Field(1, ge=1, le=100, description="People who judge each item")
    blind: bool = True
    counts: bool = Field(True, description="False: its verdicts only measure")
    feedback: bool = False
    practice: bool = Field(False, description="The gold given is the queue; everyone gets all of it")
    role: Literal["clinician", "adjudicator", "curator", ""] = Field("clinician", description="Empty: the named alone")
    reviewers: list[str] = Field([], max_length=200, description="Usernames of members")
    gold: list[GoldIn] = Field([], max_length=10_000)


@router.post(
    "/queue-preview", response={200: PreviewPlanOut, **REFUSED}, auth=curating, summary="What a plan would draw now"
)
@answered
def post_plan_preview(request: HttpRequest, body: PlanIn) -> dict[str, Any]:
    return asdict(preview_plan(run=run_named(request, body.run), plan=body.plan))


@router.post("/queues", response={201: QueueOut, **REFUSED}, auth=curating, summary="Make a queue")
@answered
def post_queue(request: HttpRequest, body: MakeQueueIn) -> Any:
    """Names are used once in a project: a request sent twice makes one queue, the second is answered 422."""
    run = run_named(request, body.run)
    people = list(User.objects.filter(username__in=body.reviewers, is_active=True, projects=run.project_id))
    if missing := sorted(set(body.reviewers) - {person.username for person in people}):
        raise QueueError(f"{missing[0]} is no member of this project.", field="reviewers")
    queue = build_queue(
        run=run,
        by=signed_in(request),
        plan=body.plan,
        reviewers=people,
        gold=[Gold(g.path, g.label, g.reason) for g in body.gold],
        **body.model_dump(exclude={"run", "plan", "reviewers", "gold"}),
    )
    return Status(201, queue)


@router.post("/questions/{uid}/flags", response={201: FlagOut, **REFUSED}, auth=judging, summary="Flag a question")
@answered
def post_question_flag(request: HttpRequest, uid: str, body: FlagIn) -> Any:
    """Outside any queue. Sets the question aside in every run of the project, until an adjudicator revokes the flag."""
    flag = flag_question(
        question=question_named(request, uid), project=project_of(request), reviewer=signed_in(request), **body.model_dump()
    )  # fmt: skip
    return Status(201, flag)
