"""API: the imported questions."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.search import SearchQuery
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema

from apps.questions.access import project_of
from apps.questions.api_access import After, PageSize, Problem, Slice, reading, slice_by
from apps.questions.models import Question, Split

router = Router(tags=["questions"], auth=reading)


class QuestionOut(Schema):
    uid: str
    benchmark: str = Field(alias="benchmark.slug")
    split: str
    subject: str
    topic: str
    contexts: list[dict[str, str]]
    stem: str
    options: list[str]
    key: str = Field(alias="key_letter")
    held_out: bool
    duplicate_of: str | None = Field(description="The canonical question of its group, where that is another one")
    flags: list[str]

    @staticmethod
    def resolve_duplicate_of(question: Question) -> str | None:
        return question.canonical.uid if question.canonical else None


class QuestionDetail(QuestionOut):
    explanation: str = Field(description="What came with the question; for people, never shown to a model")
    source_id: str


class QuestionQuery(Schema):
    q: str = Field("", max_length=300, description="Words of the stem and the options, as in a web search")
    benchmark: str = Field("", max_length=60)
    split: Split | None = None
    subject: str = Field("", max_length=120)
    held_out: bool | None = None
    after: int = After
    limit: int = PageSize


@router.get("/questions", response={200: Slice[QuestionOut]}, summary="Imported questions, by id")
def list_questions(request: HttpRequest, query: Query[QuestionQuery]) -> dict[str, Any]:
    rows = Question.objects.visible_to(project_of(request)).select_related("benchmark", "canonical")
    if query.q:
        rows = rows.filter(search=SearchQuery(query.q.replace("\x00", ""), config="english", search_type="websearch"))
    if query.benchmark:
        rows = rows.filter(benchmark__slug=query.benchmark)
    if query.split:
        rows = rows.filter(split=query.split)
    if query.subject:
        rows = rows.filter(subject__iexact=query.subject)
    if query.held_out is not None:
        rows = rows.filter(held_out=query.held_out)
    return slice_by(rows.defer("search", "canonical__search"), "id", after=query.after, limit=query.limit)


@router.get("/questions/{uid}", response={200: QuestionDetail, 404: Problem}, summary="One question")
def read_question(request: HttpRequest, uid: str) -> Question:
    rows = Question.objects.visible_to(project_of(request)).select_related("benchmark", "canonical")
    return get_object_or_404(rows, uid=uid.replace("\x00", ""))
