"""Threads of a question and a person's mentions, newest first, in pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet

from apps.questions.models import Project, Question
from apps.review.models_records import Comment, Mention

THREADS_ON_PAGE = 20
MENTIONS_ON_PAGE = 30
ANSWERS_SHOWN = 100  # of one thread


@dataclass(frozen=True, slots=True)
class Thread:
    comment: Comment
    answers: list[Comment]


def read_threads(project: Project, question: Question, params: Mapping[str, str]) -> tuple[list[Thread], int | None]:
    """A page of threads and the cursor of the next (`threads` in the address), in two statements."""
    found = Comment.objects.filter(question=question, project=project, thread__isnull=True)
    if before := _cursor(params.get("threads")):
        found = found.filter(pk__lt=before)
    rows = list(found.select_related("author", "resolved_by", "path").defer("path__raw", "path__text").order_by("-pk")[: THREADS_ON_PAGE + 1])  # fmt: skip
    page, more = rows[:THREADS_ON_PAGE], len(rows) > THREADS_ON_PAGE
    answers: dict[int, list[Comment]] = {}
    said = Comment.objects.filter(thread__in=page).select_related("author").order_by("pk")
    for answer in said[: ANSWERS_SHOWN * THREADS_ON_PAGE]:
        answers.setdefault(answer.thread_id or 0, []).append(answer)
    return [Thread(c, answers.get(c.pk, [])) for c in page], page[-1].pk if more else None


def count_unseen(user: User) -> int:
    """Mentions that the person has not looked at, up to 100; an index of unseen ones alone."""
    return Mention.objects.filter(user=user, seen_at__isnull=True)[:100].count()


def read_mentions(user: User, project: Project, params: Mapping[str, str]) -> tuple[list[Mention], int | None]:
    """Newest first; the cursor of the next page (`before`)."""
    found: QuerySet[Mention] = Mention.objects.filter(user=user, comment__project=project)
    if before := _cursor(params.get("before")):
        found = found.filter(pk__lt=before)
    rows = list(found.select_related("comment__author", "comment__question", "comment__run").order_by("-pk")[: MENTIONS_ON_PAGE + 1])  # fmt: skip
    page, more = rows[:MENTIONS_ON_PAGE], len(rows) > MENTIONS_ON_PAGE
    return page, page[-1].pk if more else None


def _cursor(raw: str | None) -> int:
    return int(raw) if raw and raw.isascii() and raw.isdigit() and len(raw) < 19 else 0
