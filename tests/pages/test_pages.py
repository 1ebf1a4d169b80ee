"""What holds for every page: nothing inline, headers, fragments, hostile text, a fixed number of queries."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.questions.access import ADJUDICATOR
from apps.questions.models import Question
from apps.reasoning.models import ReasoningPath, Response, Verdict
from tests.factories import count_again, keep_paths, make_judged_question, make_question, make_run
from tests.pages.addresses import page_addresses
from tests.pages.conftest import World, with_role

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7|add:7 }}{% now %}</textarea>"
INLINE = re.compile(
    r"<style|\sstyle=|\son[a-z]+\s*=|<script(?![^>]*\ssrc=)|javascript:|hx-on|hx-vals=.js:|//cdn"
    # the one door outside: a search of the literature, in a new tab that learns nothing of where it was opened
    r"|https?://(?!www\.w3\.org)(?!pubmed\.ncbi\.nlm\.nih\.gov/\?term=[\w+%-]*\" target=\"_blank\" rel=\"noopener noreferrer\")",
    re.I,
)


def test_nothing_inline_and_nothing_from_elsewhere(world: World, client: Client) -> None:
    client.force_login(with_role(world.curator, ADJUDICATOR))
    for name, address in page_addresses(world).items():
        response = client.get(address, follow=True)
        assert response.status_code == 200, name
        assert not (found := INLINE.search(response.text)), (
            name,
            found and response.text[found.start() - 60 : found.end() + 60],
        )
        policy = response["Content-Security-Policy"]
        assert "default-src 'none'" in policy, name
        assert "unsafe" not in policy, name


@pytest.mark.parametrize(("address", "status"), [("/nothing/here/", 404), ("/questions/no-such-question/", 404)])
def test_errors_are_pages_too(signed_in: Client, address: str, status: int) -> None:
    response = signed_in.get(address)
    assert response.status_code == status
    assert "<h1>" in response.text
    assert not INLINE.search(response.text)
    assert response["Content-Security-Policy"]


def test_refused_page_says_who_can_help(signed_in: Client) -> None:
    response = signed_in.get(reverse("run_new"))
    assert response.status_code == 403
    assert "curator" in response.text.lower()


def test_server_error_page_needs_no_database(rf: RequestFactory) -> None:
    from django.views.defaults import server_error

    response = server_error(rf.get("/"))
    assert response.status_code == 500
    assert b"safe" in response.content


@pytest.mark.parametrize("name", ["overview", "run", "questions", "paths", "override"])
def test_fragment_for_htmx_and_page_for_everyone_else(world: World, signed_in: Client, name: str) -> None:
    address = page_addresses(world)[name]
    page, fragment = signed_in.get(address), signed_in.get(address, headers={"HX-Request": "true"})
    assert "<!doctype html>" in page.text
    assert "<!doctype html>" not in fragment.text
    assert "<nav" not in fragment.text
    for response in (page, fragment):
        assert "HX-Request" in response["Vary"]


def test_hostile_text_is_text_everywhere(world: World, client: Client) -> None:
    question = make_question(
        stem=HOSTILE + " Which one?", options=[HOSTILE, "b", "c", "d"], subject=HOSTILE[:100], explanation=HOSTILE
    )
    question.contexts = [{"label": HOSTILE, "text": HOSTILE}]
    question.save()
    paths = make_judged_question(world.run, question, errors=5)
    keep_paths(world.run, question)
    ReasoningPath.objects.filter(question=question).update(text=HOSTILE, model=HOSTILE[:100], finish_reason="<b>"[:20])
    Verdict.objects.filter(path__question=question).update(reason=HOSTILE)
    Response.objects.filter(path__question=question).update(text=HOSTILE)
    client.force_login(with_role(world.curator, ADJUDICATOR))
    world.row = world.run.questions.select_related("question").get(question=question)
    world.path = paths[1]
    world.record = question_record(world, question)
    for name, address in page_addresses(world).items():
        text = client.get(address, follow=True).text
        assert "<script>alert" not in text, name
        assert "<img src=x" not in text, name
        assert not INLINE.search(text.replace("onerror=alert(2)", "")), name
        if name in ("run_question", "record", "override", "compare"):
            assert "&lt;script&gt;alert(1)" in text, name
            assert "{{ 7|add:7 }}" in text, name


def question_record(world: World, question: Question):
    from apps.reasoning.models import Selection

    return Selection.objects.filter(run=world.run, question=question).order_by("slot")[0]


def queries_for(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def add_questions(world: World) -> None:
    for errors in (1, 5, 9):
        question = make_question()
        make_judged_question(world.run, question, errors=errors)
        keep_paths(world.run, question)
    count_again(world.run)


def add_runs(world: World) -> None:
    for _ in range(5):
        make_run(paths_from=world.run)


@pytest.mark.parametrize(
    ("name", "more", "budget"),
    [
        ("overview", add_questions, 13),
        ("run", add_runs, 13),
        ("questions", add_questions, 10),
        ("paths", add_questions, 10),
        ("runs", add_runs, 7),
        ("run_question", add_questions, 18),
        ("compare", add_questions, 16),
        ("record", add_questions, 18),
        ("key_conflicts", add_questions, 7),
        ("composition", add_questions, 8),
    ],
)
def test_queries_do_not_grow_with_rows(
    world: World, signed_in: Client, name: str, more: Callable[[World], None], budget: int
) -> None:
    address = page_addresses(world)[name]
    few = queries_for(signed_in, address)
    more(world)
    assert queries_for(signed_in, address) == few
    assert few <= budget
