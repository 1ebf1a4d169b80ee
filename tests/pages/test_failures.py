"""The failures page: groups, samples as data and never as markup, and trying again only after a confirmation."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.pipeline.failure_words import CLASSES
from apps.pipeline.failures import PAGE
from apps.pipeline.models import Call, Failure
from apps.reasoning.models import Run
from tests.factories import make_call
from tests.pages.conftest import World
from tests.pages.test_override import plain

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
GROUP = {"stage": "verify", "endpoint": "judge", "class": "schema"}


@pytest.fixture
def desk(world: World, client: Client) -> Client:
    client.force_login(world.curator)
    return client


def set_aside(world: World, item: str = "path:1", **fields: Any) -> Failure:
    fields = {
        "stage": "verify",
        "error_class": "schema",
        "message": "the verdict does not agree with its axes",
    } | fields
    said = {name: fields[name] for name in ("stage", "error_class")} | {"error": fields["message"]}
    excerpt = fields.pop("excerpt", '{"verdict": "Correct"')
    call = make_call(world.run, world.row.question, item=item, status="failed", seed=42, attempt=3, excerpt=excerpt, params={"temperature": 1.0, "max_tokens": 1024}, **said)  # fmt: skip
    return Failure.objects.create(run=world.run, question=world.row.question, item=item, call=call, **fields)


def address(world: World, name: str = "failures") -> str:
    return reverse(name, args=(world.run.pk,))


def test_nothing_went_wrong(world: World, desk: Client) -> None:
    text = plain(desk.get(address(world)).text)
    assert "Nothing was set aside" in text
    assert "No attempt has failed" in text
    assert "Try all again" not in text


def test_groups_say_how_many_what_it_means_and_what_to_do(world: World, desk: Client) -> None:
    for number in range(4):
        set_aside(world, f"path:{number}")
    set_aside(world, "path:9", error_class="refused", message="400: model not found")
    world.run.counters.create(key="calls:verify@judge", value=50)
    response = desk.get(address(world))
    text = plain(response.text)
    assert "5 outputs set aside" in text
    assert "Verify judge" in text
    assert f"{CLASSES['schema'].word} {CLASSES['schema'].meaning} {CLASSES['schema'].advice} 4" in text
    assert "8.0 % of 50" in text
    assert "The latest 3 of 4" in text
    assert "400: model not found" in text
    assert "seed 42" in text
    assert "temperature 1.0" in text
    assert 'data-announce="5 outputs set aside, 5 failed attempts"' in response.text
    assert response.text.count("<caption>") == 2


def test_one_class_alone(world: World, desk: Client) -> None:
    set_aside(world)
    set_aside(world, "path:9", error_class="refused", message="400: no such model")
    response = desk.get(address(world), {"class": "refused"})
    text = plain(response.text)
    assert "1 output set aside" in text
    assert f'href="{address(world, "failures_retry")}?class=refused"' in response.text
    assert "no such model" in text
    assert "does not agree" not in text
    assert "Nothing was set aside" in plain(desk.get(address(world), {"class": HOSTILE}).text)


def test_what_a_model_or_server_says_is_text(world: World, desk: Client) -> None:
    set_aside(world, message=HOSTILE, excerpt=HOSTILE, error_class=HOSTILE[:20])
    pages = [address(world), address(world) + "?class=" + HOSTILE]
    pages.append(address(world, "failures_aside") + f"?stage=verify&endpoint=judge&class={HOSTILE[:20]}")
    for page in pages:
        text = desk.get(page).text
        assert "<img" not in text
        assert "<script>alert" not in text
    assert "&lt;img" in text


@pytest.mark.parametrize("name", ["failures_aside", "failures_attempts"])
def test_a_group_is_paged(world: World, desk: Client, name: str) -> None:
    for number in range(PAGE + 2):
        set_aside(world, f"path:{number}")
    first = desk.get(address(world, name), GROUP)
    assert first.text.count('class="fault"') == PAGE
    older = first.context["page"].older
    second = desk.get(address(world, name), GROUP | {"before": older})
    assert second.text.count('class="fault"') == 2
    assert "Newest" in second.text
    last = second.context["page"].samples[-1]
    beyond = str(last.failure) if name == "failures_aside" else f"0_{last.call.pk}"
    assert "Nothing older" in desk.get(address(world, name), GROUP | {"before": beyond}).text
    assert "Nothing here any more" in desk.get(address(world, name), GROUP | {"stage": "rank"}).text


def test_the_page_has_a_budget_of_queries(world: World, desk: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert desk.get(address(world)).status_code == 200
        return len(captured)

    set_aside(world, "first")
    few = queries()
    for number, error_class in enumerate(list(CLASSES) * 2):
        set_aside(world, f"path:{number}", error_class=error_class)
    assert queries() == few <= 21


def test_a_group_page_has_a_budget_of_queries(world: World, desk: Client) -> None:
    def queries(name: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert desk.get(address(world, name), GROUP).status_code == 200
        return len(captured)

    set_aside(world)
    few = [queries("failures_aside"), queries("failures_attempts")]
    for number in range(PAGE):
        set_aside(world, f"path:{number}x")
    assert [queries("failures_aside"), queries("failures_attempts")] == few
    assert max(few) <= 13


def test_trying_again_asks_first(world: World, desk: Client) -> None:
    set_aside(world)
    response = desk.get(address(world, "failures_retry"), GROUP)
    text = plain(response.text)
    assert "Try 1 output again?" in text
    assert "Questions 1 Of them ready to export now 1" in text
    assert "nothing: no price is set" in text
    assert "sets it running again" in text
    assert Failure.objects.filter(resolved_at=None).count() == 1


def test_what_was_confirmed_is_done_and_no_more(world: World, desk: Client) -> None:
    first = set_aside(world)
    form = desk.get(address(world, "failures_retry"), GROUP).context
    later = set_aside(world, "path:2")
    posted = GROUP | {"up_to": form["preview"].up_to}
    response = desk.post(address(world, "failures_retry"), posted, follow=True)
    assert "1 output of 1 question will be tried again" in plain(response.text)
    assert "note--success" in response.text
    first.refresh_from_db()
    later.refresh_from_db()
    assert (first.resolved_by, later.resolved_at) == (world.curator, None)
    again = desk.post(address(world, "failures_retry"), posted, follow=True)
    assert "Nothing was left to try again" in plain(again.text)


def test_one_alone(world: World, desk: Client) -> None:
    first, second = set_aside(world), set_aside(world, "path:2")
    desk.post(address(world, "failures_retry"), {"failure": [first.pk]})
    assert list(Failure.objects.filter(resolved_at=None)) == [second]
    assert "Nothing left" in desk.get(address(world, "failures_retry"), {"failure": [first.pk]}).text


@pytest.mark.parametrize("value", ["x", "-1", "9" * 40, "²"])
def test_an_id_that_is_none_chooses_nothing(world: World, desk: Client, value: str) -> None:
    set_aside(world)
    desk.post(address(world, "failures_retry"), {"failure": value})
    assert Failure.objects.filter(resolved_at=None).count() == 1


def test_a_cancelled_run_says_so(world: World, desk: Client) -> None:
    set_aside(world)
    Run.objects.update(state="cancelled")
    for response in (
        desk.get(address(world, "failures_retry"), follow=True),
        desk.post(address(world, "failures_retry"), follow=True),
    ):
        assert "is cancelled for good" in response.text
        assert "note--error" in response.text
    assert Failure.objects.filter(resolved_at=None).count() == 1


def test_a_paused_run_says_that_nothing_is_sent_yet(world: World, desk: Client) -> None:
    set_aside(world)
    Run.objects.update(state="paused")
    assert "nothing is sent before it is resumed" in desk.get(address(world, "failures_retry")).text
    assert "Nothing is sent before the run is resumed" in desk.post(address(world, "failures_retry"), follow=True).text


def test_a_clinician_sees_but_does_not_act(world: World, client: Client) -> None:
    set_aside(world)
    client.force_login(world.clinician)
    text = client.get(address(world)).text
    assert "does not agree" in text
    assert "Try" not in text.replace("Try again for another sample", "").replace("Tried", "").replace(
        "Try again later", ""
    )


def test_posting_wants_the_token(world: World) -> None:
    set_aside(world)
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.curator)
    assert client.post(address(world, "failures_retry")).status_code == 403
    assert Failure.objects.filter(resolved_at=None).count() == 1


def test_the_overview_and_the_question_lead_there(world: World, desk: Client) -> None:
    failure = set_aside(world)
    world.run.counters.create(key="failed:schema", value=1)
    assert f'href="{address(world)}?class=schema"' in desk.get(reverse("run", args=(world.run.pk,))).text
    question = desk.get(reverse("run_question", args=(world.run.pk, world.row.question.uid))).text
    assert f'href="{address(world, "failures_retry")}?failure={failure.pk}"' in question
    Call.objects.filter(pk=failure.call_id).update(excerpt="")
    assert "How the reply begins" not in desk.get(address(world)).text
