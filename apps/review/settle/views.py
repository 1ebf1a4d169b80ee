"""Disagreements: the list, and one of them. The script of the review screen works here too, and so does none."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from apps.questions.access import ADJUDICATOR, project_of, role_required
from apps.reasoning.models import PathLabel, ReasoningPath, RunQuestion
from apps.reasoning.paging import count_capped, read_page
from apps.reasoning.reading import read_path
from apps.reasoning.sentences import SPLITTER_VERSION
from apps.reasoning.text import split_stem
from apps.review.models import Harm, Reason
from apps.review.queues.adjudication import Adjudicated, adjudicate, said_by
from apps.review.queues.errors import NotAdmitted, QueueError
from apps.review.screen.context import KEYS, literature, said_in
from apps.review.screen.forms import number, read_said
from apps.review.screen.ranges import ranges_table
from apps.review.screen.settings import settings_of
from apps.review.screen.stem import read_blocks, with_values
from apps.review.services import VersionConflict
from apps.review.settle.effects import foresee_ruling
from apps.review.settle.selectors import (
    MOST_COUNTED,
    Disagreement,
    for_person,
    judged_themselves,
    next_for,
    open_flags,
    read_disagreement,
    said_in_short,
    waiting_for,
)
from apps.review.views import path_in_run

settling = role_required(ADJUDICATOR)
FLAGS_SHOWN = 5
OWN_SHOWN = 20


@settling
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    if fragment(request):  # the script asks for the next one ahead of time; it is a page of its own here
        return HttpResponse(status=204)
    project, person = project_of(request), the_person(request)
    page = read_page(for_person(project, person), request.GET, field="pk")
    own = judged_themselves(project, person)
    own_rows = list(own.order_by("pk")[:OWN_SHOWN])
    short = said_in_short(project, page.rows)
    context = {
        "page": page,
        "rows": [(row, short.get(row.path_id, "")) for row in page.rows],
        "waiting": waiting_for(project, person),
        "own": own_rows,
        "own_count": count_capped(own, MOST_COUNTED),
        "flags": list(open_flags(project).order_by("pk")[:FLAGS_SHOWN]),
    }
    return render(request, "review/settle_home.html", context)


@settling
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def settle(request: HttpRequest, run_id: int, path_id: int) -> HttpResponse:
    """To settle while people disagree; then who said what, and who settled it. One's own disagreement is 403."""
    row, path = path_in_run(request, run_id, path_id)
    person = the_person(request)
    if said_by(person, row.run.project_id, path.pk).exists():
        return refused(request, row, "You have judged this path yourself, so a third person settles it.")
    found = read_disagreement(row.run, path)
    if request.method == "POST":
        return save(request, row, path, found)
    if found.ruling is not None and not (request.GET.get("again") and found.ruling.reviewer_id == person.pk):
        return show(request, row, path, found, "review/settle_done.html")
    if found.ruling is None and not found.disputed:
        return show(request, row, path, found, "review/settle_nothing.html")
    return show(request, row, path, found, "review/settle_body.html")


def save(request: HttpRequest, row: RunQuestion, path: ReasoningPath, found: Disagreement) -> HttpResponse:
    """Not valid: 422. The question changed since it was opened: 409 with what stands now and a fresh version."""
    if found.ruling is None and not found.disputed:
        return show(request, row, path, found, "review/settle_nothing.html", status=409)
    version = request.POST.get("version", "")
    try:
        done = adjudicate(
            run=row.run,
            path=path,
            by=the_person(request),
            said=read_said(request.POST),
            idempotency_key=request.POST.get("idempotency_key", ""),
            expected_version=number(version) if version else None,
        )
    except NotAdmitted as error:  # judged in another window between the check and the lock
        return refused(request, row, str(error))
    except QueueError as error:
        return show(request, row, path, found, "review/settle_body.html", status=422, problem=error)
    except VersionConflict as error:
        row, path = path_in_run(request, row.run_id, path.pk)
        now = read_disagreement(row.run, path)
        return show(request, row, path, now, "review/settle_body.html", status=409, conflict=error)
    return saved(request, path, done)


def saved(request: HttpRequest, path: ReasoningPath, done: Adjudicated) -> HttpResponse:
    if not fragment(request):
        return redirect("settle_path", done.row.run_id, path.pk)
    row, path = path_in_run(request, done.row.run_id, path.pk)
    return show(request, row, path, read_disagreement(row.run, path), "review/settle_done.html")


def show(
    request: HttpRequest,
    row: RunQuestion,
    path: ReasoningPath,
    found: Disagreement,
    inside: str,
    *,
    status: int = 200,
    problem: QueueError | None = None,
    conflict: VersionConflict | None = None,
) -> HttpResponse:
    question, stem = row.question, split_stem(row.question.stem)
    context: dict[str, Any] = {
        "row": row,
        "run": row.run,
        "question": question,
        "path": path,
        "found": found,
        "sides": found.sides,
        "stem": stem,
        "blocks": read_blocks(stem.paragraphs),
        "contexts": [(part.get("label", ""), with_values(part["text"])) for part in question.contexts],
        "search": literature(question, stem),
        "ranges": ranges_table(),
        "reading": read_path(path.text, stem=question.stem, options=question.options, cited=found.marked),
        "problem": problem,
        "conflict": conflict,
        "following": following(request, row, found.label),
    }
    if inside == "review/settle_body.html":
        context |= form_context(request, row, path, found)
    if fragment(request):
        return render(request, inside, context, status=status)
    return whole(request, inside, context, status)


def form_context(request: HttpRequest, row: RunQuestion, path: ReasoningPath, found: Disagreement) -> dict[str, Any]:
    """What was typed comes back as it was; who changes a ruling starts from it."""
    person = the_person(request)
    mine = found.ruling if found.ruling is not None and found.ruling.reviewer_id == person.pk else None
    was = mine.details if mine else {}
    said = {
        "label": mine.label if mine else "",
        "chosen_reasons": was.get("reasons", []),
        "chosen_sentences": was.get("sentences", []),
        "harm": was.get("harm", ""),
        "comment": mine.reason if mine else "",
    }
    return {
        "fresh_key": uuid4(),
        "splitter": SPLITTER_VERSION,
        "reasons": [(code, word, KEYS[code]) for code, word in Reason.choices],
        "harms": Harm.choices,
        "effects": foresee_ruling(run=row.run, path=path, by=person),
        **(said_in(request.POST) if request.method == "POST" else said),
    }


def following(request: HttpRequest, row: RunQuestion, label: PathLabel | None) -> PathLabel | None:
    return next_for(row.run.project, the_person(request), after=label.pk if label else 0)


def refused(request: HttpRequest, row: RunQuestion, why: str) -> HttpResponse:
    """403 in words. The script takes a 403 for a sign-in that ended and sends again, so it gets a 409."""
    context = {
        "row": row,
        "run": row.run,
        "question": row.question,
        "why": why,
        "said": request.POST.get("comment", ""),
    }
    context["following"] = following(request, row, None)
    if fragment(request):
        return render(request, "review/settle_refused.html", context, status=409)
    return whole(request, "review/settle_refused.html", context, 403)


def whole(request: HttpRequest, inside: str, context: dict[str, Any], status: int) -> HttpResponse:
    context |= {"inside": inside, "settings": settings_of(the_person(request))}
    return render(request, "review/settle_path.html", context, status=status)


def fragment(request: HttpRequest) -> bool:
    return bool(request.headers.get("X-Fragment"))


def the_person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
