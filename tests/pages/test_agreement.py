"""The page Agreement: what it shows to whom, its switches, its empty states, its number of queries."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.reasoning.models import Label
from apps.review import agreement, kept
from tests.factories import make_user, make_verdict
from tests.pages.conftest import World
from tests.review.agreement_world import judge_item, make_judged_ledger, make_queue, put

pytestmark = pytest.mark.django_db
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+\s*=|javascript:", re.I)


def read(client: Client, query: str = "") -> str:
    response = client.get(reverse("agreement") + query)
    assert response.status_code == 200
    return response.text


def test_empty_says_what_to_do(world: World, signed_in: Client) -> None:
    text = read(signed_in)
    assert "No person has judged a path yet" in text
    assert "A curator makes a queue" in text
    assert "No person has judged a path of this run yet" in read(signed_in, "?run=four")
    assert signed_in.get(reverse("agreement") + "?run=nothing").status_code == 404


def test_one_person_leaves_agreement_unsaid_and_judges_the_judge(world: World, client: Client) -> None:
    judge_item(put(make_queue(world.run), world.path), make_user(), Label.ERROR)
    client.force_login(world.curator)
    text = read(client)
    assert "1 path judged, none of them by two people" in text
    assert "Is the judge right?" in text
    assert "Clinicians call no path here Correct yet." in text  # specificity, explained
    assert "undefined" in text
    assert "nan" not in re.findall(r"\bnan\b", text.lower())


def test_figures_are_there_with_their_sentences(client: Client) -> None:
    run = make_judged_ledger(questions=8, reviewers=6, name="autumn")
    client.force_login(make_user("curator"))
    text = read(client, f"?run={run.name}")
    for word in (
        "Raw agreement",
        "Gwet’s AC1",
        "Fleiss’ κ",
        "Krippendorff’s α",
        "Sensitivity",
        "Specificity",
        "PPV",
        "NPV",
    ):
        assert word in text, word
    for heading in ("True error rate", "Over time", "Which tier, really?", "Pair of reviewers", "Week by week"):
        assert heading in text, heading
    assert "effective n" in text
    assert "weighted by how likely each path was to be drawn" in text
    assert "Reviewer 1 and Reviewer" in text
    assert not INLINE.search(text)


def test_switches_change_what_is_shown_and_keep_the_rest(client: Client) -> None:
    run = make_judged_ledger(questions=4, name="autumn")
    client.force_login(make_user("curator"))
    text = read(client, f"?run={run.name}&measure=kappa&figure=ppv&verdicts=all")
    assert "κ by slice" in text
    assert "PPV by slice" in text
    assert "72 first verdicts." in text
    assert "?run=autumn&amp;verdicts=all&amp;measure=alpha&amp;figure=ppv#people" in text
    assert "AC1 by slice" in read(client, "?measure=nonsense&figure=%00&verdicts=<script>")


def test_verdicts_with_the_judge_in_view_are_told_apart(world: World, client: Client) -> None:
    make_verdict(world.path, reviewer=make_user(), label=Label.ERROR)
    client.force_login(world.curator)
    text = read(client)
    assert "Some were given with the judge’s verdict in view" in text
    assert 'aria-current="true">All first verdicts' in text
    blind = read(client, "?verdicts=blind")
    assert "No path has a label of the judge and one of these verdicts" in blind


@pytest.mark.parametrize("people", [3, 6])
def test_who_judged_is_for_curators_only(client: Client, people: int) -> None:
    run = make_judged_ledger(questions=4, reviewers=people)
    client.force_login(make_user("clinician"))
    text = read(client, f"?run={run.name}")
    assert "Reviewer 1" not in text
    assert "Pair of reviewers" not in text
    assert ("Shown once 5 people have judged" in text) == (people < 5)
    assert ("AC1 by slice" in text) == (people >= 5)
    assert "Is the judge right?" in text
    client.force_login(make_user("curator"))
    assert "Reviewer 1" in read(client, f"?run={run.name}")


def test_hostile_names_are_text(client: Client) -> None:
    people = [make_user(first_name="<script>alert(1)</script>"), make_user(last_name='"><img src=x>')]
    run = make_judged_ledger(questions=2, people=people, name="<b>run</b>")
    client.force_login(make_user("curator"))
    text = read(client, "?run=%3Cb%3Erun%3C/b%3E")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "<b>run</b>" not in text
    assert run.name


@pytest.mark.slow
def test_queries_do_not_grow(client: Client) -> None:
    make_judged_ledger(questions=2, name="one")
    client.force_login(make_user("curator"))

    def queries(query: str) -> int:
        read(client, query)
        cache.clear()
        with CaptureQueriesContext(connection) as found:
            read(client, query)
        return len(found)

    few = queries(""), queries("?run=one")
    make_judged_ledger(questions=6, reviewers=4, name="two")
    make_judged_ledger(questions=2, reviewers=3, name="three")
    assert (queries(""), queries("?run=one")) == few
    assert max(few) <= 16


def test_kept_for_a_minute_but_not_past_the_next_verdict(world: World, client: Client) -> None:
    client.force_login(world.curator)
    assert "No person has judged a path yet" in read(client)
    person = make_user()
    judge_item(put(make_queue(world.run), world.path), person, Label.ERROR)
    read(client)
    with CaptureQueriesContext(connection) as kept:
        assert "1 path judged" in read(client)
    assert not any("reasoning_runquestion" in query["sql"] for query in kept)


def test_reading_only(client: Client, world: World) -> None:
    client.force_login(world.curator)
    assert client.post(reverse("agreement")).status_code == 405


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """People said much, so that pages leave the work to a thread; here it waits until it is called."""
    cache.clear()
    works: list[Callable[[], object]] = []
    monkeypatch.setattr(agreement, "MUCH", 0)
    monkeypatch.setattr(kept, "in_background", works.append)
    return works


def test_much_is_worked_out_after_the_page_and_said_to_be_as_of(
    world: World, client: Client, later: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept.connection, "close", lambda: None)  # the test's own
    judge_item(put(make_queue(world.run), world.path), make_user(), Label.ERROR)
    client.force_login(world.curator)
    first = read(client)
    assert "The figures are being worked out" in first
    assert 'href="/agreement/"' in first  # without script
    read(client)
    assert len(later) == 1  # one at work is enough
    later.pop()()
    assert "1 path judged, none of them by two people" in read(client)
    assert not later
    judge_item(put(make_queue(world.run), world.path), make_user(), Label.ERROR)
    old = read(client)
    assert "1 path judged, none of them by two people" in old
    assert 'id="as-of"' in old
    later.pop()()
    new = read(client)
    assert "none of them by two people" not in new
    assert 'id="as-of"' not in new


def test_what_failed_is_tried_again(
    world: World, client: Client, later: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept.connection, "close", lambda: None)
    judge_item(put(make_queue(world.run), world.path), make_user(), Label.ERROR)
    client.force_login(world.curator)
    with monkeypatch.context() as broken:
        broken.setattr("apps.review.agreement_views.fetch", lambda *_: 1 / 0)
        read(client)
        later.pop()()
    assert "being worked out" in read(client)
    later.pop()()
    assert "Is the judge right?" in read(client)


def test_the_thread_has_a_connection_of_its_own(transactional_db: None) -> None:
    done = threading.Event()
    kept.kept("thread", "1", lambda: (User.objects.count(), done.set()), at_once=False)
    assert done.wait(30)
    for thread in threading.enumerate():
        if thread.name == "kept figures":
            thread.join(30)
    found = kept.kept("thread", "1", lambda: pytest.fail("it was kept"), at_once=False)
    assert found is not None
    assert found.value[0] == User.objects.count()
