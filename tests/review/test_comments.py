"""Threads, mentions and the timeline: said once, told to those concerned, paged without a gap, never markup."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.reasoning.models import RunQuestion
from apps.review import services
from apps.review.comments.selectors import count_unseen
from apps.review.comments.services import add_comment, mentioned_names, resolve_thread, see_mentions
from apps.review.comments.timeline import read_timeline
from apps.review.models import QuestionFlag
from apps.review.models_records import Comment, Mention
from apps.review.records import decisions, overrides
from apps.review.services import OverrideError
from apps.review.templatetags.comments import comment_text
from tests.factories import make_project, make_user
from tests.pages.conftest import World, signed_in, stranger, world
from tests.pages.test_override import plain
from tests.pages.test_pages import HOSTILE, queries_for

__all__ = ["signed_in", "stranger", "world"]


def say(world: World, text: str = "Unsure about the key.", **more: Any) -> Comment:
    given_: dict[str, Any] = {"project": world.run.project, "question": world.row.question, "run": world.run}
    return add_comment(**(given_ | {"author": world.clinician, "text": text} | more))


def history(world: World) -> str:
    return reverse("question_history", args=(world.run.pk, world.row.question.uid))


# comments


def test_members_who_are_named_are_told_once(world: World) -> None:
    ada, gone = make_user(username="ada.m"), make_user(username="gone", is_active=False)
    outside = make_user(username="else", member_of=make_project("elsewhere"))
    outside.projects.remove(make_project())  # type: ignore[attr-defined]
    comment = say(world, f"@ada.m, and @ada.m again; @gone @else @nobody @{world.clinician.username} mail@ada.m.")
    assert [m.user for m in comment.mentions.all()] == [ada]
    assert (count_unseen(ada), count_unseen(gone), count_unseen(outside)) == (1, 0, 0)
    assert see_mentions(user=ada, question=world.row.question) == 1
    assert count_unseen(ada) == 0


def test_sent_twice_it_is_said_once(world: World) -> None:
    key = uuid.uuid4()
    assert say(world, idempotency_key=key) == say(world, idempotency_key=key)
    with pytest.raises(OverrideError, match="another judgment"):
        say(world, idempotency_key=key, author=make_user())


def test_a_thread_is_resolved_and_an_answer_opens_it_again(world: World) -> None:
    thread = say(world)
    assert resolve_thread(thread=thread, by=world.curator, resolved=True)
    assert not resolve_thread(thread=thread, by=world.clinician, resolved=True)
    thread.refresh_from_db()
    assert thread.resolved_by == world.curator
    answer = say(world, "Still unsure.", thread=thread)
    thread.refresh_from_db()
    assert thread.resolved_at is None
    for wrong in (lambda: say(world, "x", thread=answer), lambda: resolve_thread(thread=answer, by=world.curator, resolved=True)):  # fmt: skip
        with pytest.raises(OverrideError):
            wrong()
    other = world.run.questions.exclude(pk=world.row.pk).select_related("question")[0]
    with pytest.raises(OverrideError, match="another question"):
        say(world, question=other.question, thread=thread)


@pytest.mark.parametrize(("text", "words"), [(" \n", "Write something"), ("x" * 10_001, "at most 10,000")])
def test_nothing_and_too_much_are_refused(world: World, text: str, words: str) -> None:
    with pytest.raises(OverrideError, match=words):
        say(world, text)
    assert say(world, "a\x00b").text == "a\ufffdb"


@given(text=st.text(alphabet="@ab.<>&\"' \n+-/", max_size=80))
def test_comments_are_escaped_and_keep_their_words(text: str) -> None:
    made = comment_text(text)
    bare = re.sub(r"</?(?:p|b|br)(?: class=\"mention\")?>", "", made)
    assert "<" not in bare
    assert ">" not in bare
    words = bare.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&")  # fmt: skip
    assert "".join(words.split()) == "".join(text.split())
    assert all(name and not name.endswith(".") for name in mentioned_names(text))


# pages


def test_comments_on_the_page(world: World, signed_in: Client) -> None:
    assert "Nobody has said anything" in signed_in.get(history(world)).text
    post = reverse("comment", args=(world.run.pk, world.row.question.uid))
    page = signed_in.post(
        post, {"text": f"{HOSTILE}\n\nSee @{world.curator.username}", "key": str(uuid.uuid4())}, follow=True
    )
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text
    assert f'<b class="mention">@{world.curator.username}</b>' in page.text
    thread = Comment.objects.get()
    signed_in.post(post, {"text": "Agreed.", "thread": thread.pk})
    refused = signed_in.post(post, {"text": " ", "thread": thread.pk})
    assert (refused.status_code, "Write something" in refused.text) == (422, True)
    assert Comment.objects.count() == 2
    signed_in.post(reverse("comment_resolve", args=(thread.pk,)), {"do": "resolve"})
    assert "Resolved by" in plain(signed_in.get(history(world)).text)
    assert signed_in.post(post, {"text": "x", "thread": "999999"}).status_code == 404


def test_mentions_are_counted_on_every_page_and_listed(world: World, client: Client) -> None:
    say(world, f"@{world.curator.username} please look")
    client.force_login(world.curator)
    assert "1 mention" in client.get(reverse("runs")).text
    text = plain(client.get(reverse("mentions")).text)
    assert "New" in text
    assert "please look" in text
    client.get(history(world))
    assert "1 mention" not in client.get(reverse("runs")).text
    say(world, f"@{world.curator.username} again")
    client.post(reverse("mentions"))
    assert Mention.objects.filter(seen_at=None).count() == 0


def test_threads_of_another_project_are_not_there(world: World, client: Client) -> None:
    elsewhere = make_project("elsewhere")
    theirs = say(world, "Theirs.", project=elsewhere, run=None)
    client.force_login(world.clinician)
    assert "Theirs." not in client.get(history(world)).text
    assert client.post(reverse("comment_resolve", args=(theirs.pk,))).status_code == 404
    post = reverse("comment", args=(world.run.pk, world.row.question.uid))
    assert client.post(post, {"text": "x", "thread": theirs.pk}).status_code == 404


# the timeline


@pytest.fixture
def eventful(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """One of each kind of event."""
    monkeypatch.setattr(services, "want_work", lambda **_: None)
    q, here = world.row.question, {"run": world.run, "question": world.row.question, "by": world.clinician}
    record = decisions.read_record(world.run, q, 1)
    assert record
    decisions.accept_record(**here, slot=1, seen_hash=record.hash)
    decisions.exclude_record(**here, slot=2, reason="Dated.")
    overrides.override_response(
        run=world.run,
        path=record.path,
        text=f"Short. Answer: {q.key_letter}. {q.key_text}",
        reason="Short.",
        by=world.clinician,
    )
    services.override_verdict(
        run=world.run, path=world.path, reviewer=world.clinician, label="error", correctness=False, coherence=True,
        factuality=True, reason="Unsafe.",
    )  # fmt: skip
    overrides.override_tier(**here, tier="difficult", reason="Hard.")
    QuestionFlag.objects.create(question=q, project=world.run.project, reviewer=world.clinician, kind="ambiguous")
    say(world)
    return world


def test_the_whole_history_stands_there_newest_first(eventful: World, client: Client) -> None:
    client.force_login(eventful.clinician)
    text = plain(client.get(history(eventful)).text)
    for words in (
        "accepted record 1", "excluded record 2", "wrote the response, revision 2", "set the tier to difficult", "judged",
        "flagged the question: the question is ambiguous", "commented", "Kept for record 1", "Judge, round 1", "Unsafe.",
    ):  # fmt: skip
        assert words in text, words
    assert "medium → difficult" in text


def test_pages_of_the_history_join_without_gap_or_repeat(eventful: World) -> None:
    row = RunQuestion.objects.select_related("run").get(pk=eventful.row.pk)
    whole = read_timeline(row, size=1000)
    assert whole.after == ""
    assert [e.at for e in whole.events] == sorted((e.at for e in whole.events), reverse=True)
    for size in (1, 3, 7):
        found, cursor = [], ""
        while True:
            page = read_timeline(row, cursor, size=size)
            found += page.events
            if not page.after:
                break
            cursor = page.after
        assert found == whole.events
    for nonsense in ("x", "a~b~c", "2026-01-01~verdict~1", "2026-01-01T00:00:00+00:00~none~1"):
        assert read_timeline(row, nonsense, size=5).events == whole.events[:5]


def test_queries(eventful: World, client: Client) -> None:
    client.force_login(eventful.clinician)
    few = queries_for(client, history(eventful))
    for n in range(5):
        say(eventful, "Again.", thread=say(eventful, f"Thread {n}"))
    assert queries_for(client, history(eventful)) == few <= 22
    assert queries_for(client, reverse("mentions")) <= 8
