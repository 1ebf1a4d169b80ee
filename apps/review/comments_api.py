"""API: what people say to each other about a question, and where they were spoken to."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from apps.questions.access import project_of
from apps.questions.api_access import LARGEST_ID, Problem, Slice, judging, signed_in, slice_by
from apps.reasoning.api import PageQuery, path_in_run, run_named
from apps.review.api_answers import REFUSED, answered, question_named
from apps.review.comments.selectors import ANSWERS_SHOWN
from apps.review.comments.services import LONGEST, add_comment, resolve_thread, see_mentions
from apps.review.models_records import Comment, Mention

router = Router(tags=["comments"], auth=judging)


class CommentOut(Schema):
    id: int
    thread: int | None = Field(alias="thread_id", description="None: it opens a thread")
    author: str = Field(alias="author.username")
    text: str
    path: int | None = Field(alias="path_id")
    created_at: datetime


class ThreadOut(CommentOut):
    resolved_at: datetime | None
    resolved_by: str | None
    answers: list[CommentOut] = Field(alias="shown_answers", description=f"The first {ANSWERS_SHOWN}")

    @staticmethod
    def resolve_resolved_by(thread: Comment) -> str | None:
        return thread.resolved_by.get_username() if thread.resolved_by else None


class CommentIn(Schema):
    text: str = Field(min_length=1, max_length=LONGEST, description="Members named with @ are told")
    thread: int | None = Field(None, ge=1, le=LARGEST_ID, description="The thread it answers")
    run: str | None = Field(None, max_length=100, description="The run it was said in")
    path: int | None = Field(None, ge=1, le=LARGEST_ID, description="A path of that run")
    idempotency_key: UUID | None = None


class ResolvedIn(Schema):
    resolved: bool = Field(description="False opens the thread again")


class MentionQuery(PageQuery):
    unseen: bool = False


class MentionOut(Schema):
    id: int
    question: str = Field(alias="comment.question.uid")
    run: str | None
    comment: int = Field(alias="comment_id")
    author: str = Field(alias="comment.author.username")
    text: str = Field(alias="comment.text")
    created_at: datetime = Field(alias="comment.created_at")
    seen_at: datetime | None

    @staticmethod
    def resolve_run(mention: Mention) -> str | None:
        return mention.comment.run.name if mention.comment.run else None


class SeenIn(Schema):
    question: str | None = Field(None, max_length=200, description="Only those of this question; left out: all")


class SeenOut(Schema):
    seen: int = Field(description="Mentions that were new until now")


@router.get(
    "/questions/{uid}/comments", response={200: Slice[ThreadOut], 404: Problem}, summary="Threads about a question"
)
def list_comments(request: HttpRequest, uid: str, query: Query[PageQuery]) -> dict[str, Any]:
    threads = _threads(request).filter(question=question_named(request, uid))
    return slice_by(threads, "id", after=query.after, limit=query.limit)


@router.post(
    "/questions/{uid}/comments",
    response={201: CommentOut, 200: CommentOut, **REFUSED},
    summary="Open a thread, or answer in one",
)
@answered
def post_comment(request: HttpRequest, uid: str, body: CommentIn) -> Any:
    """An answer opens a resolved thread again."""
    question, project = question_named(request, uid), project_of(request)
    if body.path and not body.run:
        return Status(422, {"detail": "Name the run of the path.", "field": "run"})
    run = run_named(request, body.run) if body.run else None
    path = path_in_run(run, body.path) if run and body.path else None
    if path and path.question_id != question.pk:
        return Status(422, {"detail": "This path answers another question.", "field": "path"})
    thread = get_object_or_404(_threads(request).filter(question=question), pk=body.thread) if body.thread else None
    known = body.idempotency_key and Comment.objects.filter(idempotency_key=body.idempotency_key).exists()
    made = add_comment(
        project=project,
        question=question,
        author=signed_in(request),
        text=body.text,
        run=run,
        path=path,
        thread=thread,
        idempotency_key=body.idempotency_key,
    )
    return Status(200 if known else 201, made)


@router.post(
    "/comments/{comment_id}/resolve", response={200: ThreadOut, **REFUSED}, summary="Resolve a thread, or open it"
)
@answered
def post_thread_state(request: HttpRequest, comment_id: int, body: ResolvedIn) -> Comment:
    thread = get_object_or_404(_threads(request), pk=min(comment_id, LARGEST_ID))
    resolve_thread(thread=thread, by=signed_in(request), resolved=body.resolved)
    return get_object_or_404(_threads(request), pk=thread.pk)


@router.get("/mentions", response={200: Slice[MentionOut]}, summary="Where people spoke to you")
def list_mentions(request: HttpRequest, query: Query[MentionQuery]) -> dict[str, Any]:
    mine = Mention.objects.filter(user=signed_in(request), comment__project=project_of(request))
    if query.unseen:
        mine = mine.filter(seen_at__isnull=True)
    rows = mine.select_related("comment__author", "comment__question", "comment__run")
    return slice_by(
        rows.defer("comment__question__search", "comment__run__config"), "id", after=query.after, limit=query.limit
    )


@router.post("/mentions/seen", response={200: SeenOut, 404: Problem}, summary="Mark mentions as seen")
def post_seen(request: HttpRequest, body: SeenIn) -> dict[str, int]:
    question = question_named(request, body.question) if body.question else None
    return {"seen": see_mentions(user=signed_in(request), question=question)}


def _threads(request: HttpRequest) -> QuerySet[Comment]:
    answers = Comment.objects.select_related("author").order_by("pk")[:ANSWERS_SHOWN]
    rows = Comment.objects.filter(project=project_of(request), thread__isnull=True)
    return rows.select_related("author", "resolved_by").prefetch_related(
        Prefetch("answers", answers, to_attr="shown_answers")
    )
