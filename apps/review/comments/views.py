"""Comments and history of a question, and the mentions of a person."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.questions.access import CLINICIAN, CURATOR, project_of, role_required
from apps.reasoning.models import ReasoningPath, RunQuestion
from apps.review.comments.selectors import read_mentions, read_threads
from apps.review.comments.services import add_comment, resolve_thread, see_mentions
from apps.review.comments.timeline import read_timeline
from apps.review.models_records import Comment
from apps.review.services import OverrideError


@role_required(CLINICIAN, CURATOR)
@require_safe
def history(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """`after` in the address goes back in time, `threads` to older threads. Opening it is seeing what mentions you in it."""
    assert isinstance(request.user, User)
    row = row_of(request, run_id, uid)
    see_mentions(user=request.user, question=row.question)
    return show(request, row)


@role_required(CLINICIAN, CURATOR)
@require_POST
def comment(request: HttpRequest, run_id: int, uid: str) -> HttpResponse:
    """A new thread, or with `thread` an answer; not valid: 422 with the text kept."""
    assert isinstance(request.user, User)
    row = row_of(request, run_id, uid)
    text, thread_id = request.POST.get("text", ""), request.POST.get("thread", "")
    thread = None
    if thread_id:
        threads = Comment.objects.filter(project=row.run.project_id, question=row.question_id, thread__isnull=True)
        thread = get_object_or_404(threads, pk=thread_id if thread_id.isdecimal() and len(thread_id) < 19 else 0)
    try:
        made = add_comment(
            project=row.run.project,
            question=row.question,
            run=row.run,
            path=path_of(row, request.POST.get("path", "")),
            thread=thread,
            author=request.user,
            text=text,
            idempotency_key=request.POST.get("key", ""),
        )
    except OverrideError as error:
        kept = {"problem": str(error), "kept": text, "kept_in": thread.pk if thread else 0}
        return show(request, row, kept, status=422)
    messages.success(request, "Your comment is there.")
    return redirect(f"{reverse('question_history', args=(run_id, uid))}#comment-{made.thread_id or made.pk}")


@role_required(CLINICIAN, CURATOR)
@require_POST
def comment_resolve(request: HttpRequest, comment_id: int) -> HttpResponse:
    """`do=resolve` or `do=open`."""
    assert isinstance(request.user, User)
    threads = Comment.objects.filter(project=project_of(request), thread__isnull=True).select_related("question", "run")
    thread = get_object_or_404(threads, pk=comment_id)
    resolve_thread(thread=thread, by=request.user, resolved=request.POST.get("do") != "open")
    if thread.run_id is None:
        return redirect("question", thread.question.uid)
    return redirect(f"{reverse('question_history', args=(thread.run_id, thread.question.uid))}#comment-{thread.pk}")


@role_required(CLINICIAN, CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
def mentions(request: HttpRequest) -> HttpResponse:
    """Where people spoke to you; a POST marks all as read."""
    assert isinstance(request.user, User)
    project = project_of(request)
    if request.method == "POST":
        see_mentions(user=request.user)
        return redirect("mentions")
    rows, more = read_mentions(request.user, project, request.GET)
    return render(request, "review/comments_mentions.html", {"rows": rows, "more": more})


def show(
    request: HttpRequest, row: RunQuestion, kept: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    threads, older = read_threads(row.run.project, row.question, request.GET)
    context = {
        "row": row,
        "run": row.run,
        "question": row.question,
        "threads": [(thread, uuid4()) for thread in threads],
        "older_threads": older,
        "timeline": read_timeline(row, request.GET.get("after", "")),
        "later": bool(request.GET.get("after")),
        "path": path_of(row, request.GET.get("path", "")),
        "key": uuid4(),
        **(kept or {}),
    }
    return render(request, "review/history.html", context, status=status)


def row_of(request: HttpRequest, run_id: int, uid: str) -> RunQuestion:
    rows = RunQuestion.objects.select_related("run__project", "question__benchmark").defer("question__search")
    return get_object_or_404(rows, run_id=run_id, run__project=project_of(request), question__uid=uid)


def path_of(row: RunQuestion, raw: str) -> ReasoningPath | None:
    """The path a thread is about, where one is named that belongs here."""
    if not (raw.isascii() and raw.isdigit() and len(raw) < 19):
        return None
    here = ReasoningPath.objects.filter(question=row.question_id, run_id__in={row.run_id, row.run.paths_run_id})
    return here.defer("raw", "text").filter(pk=int(raw)).first()
