"""The overview as it moves, the form of a new run, and what a curator may do to a run."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.pipeline.models import Failure
from apps.reasoning.models import Run, RunCounter, RunQuestion
from tests.factories import make_call, make_question, make_run
from tests.pages.conftest import World
from tests.pages.test_override import plain

HTMX = {"HX-Request": "true"}
STATUS_STOPS_POLLING = 286


@pytest.fixture
def desk(world: World, client: Client) -> Client:
    client.force_login(world.curator)
    return client


def form(**changes: Any) -> dict[str, Any]:
    return {
        "name": "pilot",
        "easy": 4,
        "medium": 7,
        "label_policy": "single",
        "unjudged_policy": "wait",
        "seed": 7,
        "toml": "",
        "do": "create",
    } | changes


def test_every_question_is_accounted_for(world: World, desk: Client) -> None:
    text = plain(desk.get(reverse("run", args=(world.run.pk,))).text)
    assert "Ready to export 4 Questions in this run 4" in text
    assert "do not add up" not in text
    RunCounter.objects.create(run=world.run, key="state:waiting:rank", value=3)
    text = plain(desk.get(reverse("run", args=(world.run.pk,))).text)
    assert "Waiting: ranking 3" in text
    assert "do not add up" in text


def test_figures_come_from_the_ledger(world: World, desk: Client) -> None:
    call = make_call(world.run, world.row.question, error_class="schema", status="failed")
    Failure.objects.create(
        run=world.run, question=world.row.question, stage="verify", item="x", error_class="schema", call=call
    )
    RunCounter.objects.create(run=world.run, key="failed:schema", value=2)
    text = plain(desk.get(reverse("run", args=(world.run.pk,))).text)
    assert "Reply not in the form asked for 2 1" in text
    assert f"Model calls {world.run.calls.count() - 1}" in text
    assert "36 of 36 paths" in text
    assert "Easy 3 75.0 %" in text
    assert "simulated: true" in text


@pytest.mark.parametrize(
    ("state", "polls"), [("running", 200), ("paused", 200), ("ready", 200), ("finished", 286), ("cancelled", 286)]
)
def test_polling_stops_with_the_run(world: World, desk: Client, state: str, polls: int) -> None:
    Run.objects.filter(pk=world.run.pk).update(state=state)
    response = desk.get(reverse("run", args=(world.run.pk,)), headers=HTMX)
    assert response.status_code == polls
    assert ("hx-trigger" in response.text) == (polls != STATUS_STOPS_POLLING)
    assert ("data-announce" in response.text) == (polls == STATUS_STOPS_POLLING)


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        ("ready", "start", "running"),
        ("running", "pause", "paused"),
        ("paused", "resume", "running"),
        ("running", "cancel", "cancelled"),
        ("cancelled", "start", "cancelled"),
        ("finished", "pause", "finished"),
    ],
)
def test_actions(world: World, desk: Client, state: str, action: str, after: str) -> None:
    run = make_run(state=state)
    response = desk.post(reverse("run_action", args=(run.pk, action)), follow=True)
    run.refresh_from_db()
    assert run.state == after
    assert ("note--success" in response.text) == (state != after)
    assert ("note--error" in response.text) == (state == after)


def test_cancelling_asks_first(world: World, desk: Client) -> None:
    run = make_run()
    text = desk.get(reverse("run_cancel", args=(run.pk,))).text
    assert "cannot be started again" in text
    assert Run.objects.get(pk=run.pk).state == "running"


def test_a_name_is_enough(world: World, desk: Client) -> None:
    response = desk.post(reverse("run_new"), form())
    run = Run.objects.get(name="pilot")
    assert response.url == reverse("run", args=(run.pk,))
    assert (run.state, run.created_by) == ("ready", world.curator)
    assert RunQuestion.objects.filter(run=run).count() == 4
    assert run.config["cutoffs"] == {"easy": 4, "medium": 7}


def test_fields_and_toml_go_into_the_configuration(world: World, desk: Client) -> None:
    toml = "keep = 1\n[cutoffs]\neasy = 2\nmedium = 5\n"
    desk.post(reverse("run_new"), form(benchmarks=["medqa"], splits=["train"], limit=1, toml=toml, label_policy="two"))
    run = Run.objects.get(name="pilot")
    assert run.config["keep"] == 1
    assert run.config["cutoffs"] == {"easy": 2, "medium": 5}
    assert run.config["label_policy"] == "two"
    assert [row.question.benchmark.slug for row in run.questions.all()] == ["medqa"]


def test_another_runs_paths(world: World, desk: Client) -> None:
    desk.post(reverse("run_new"), form(paths_from=world.run.pk, start_from=world.run.pk))
    run = Run.objects.get(name="pilot")
    assert run.paths_from == world.run
    assert RunQuestion.objects.filter(run=run).count() == 4


def test_counting_makes_nothing(world: World, desk: Client) -> None:
    make_question(held_out=True)
    text = plain(desk.post(reverse("run_new"), form(do="estimate")).text)
    assert not Run.objects.filter(name="pilot").exists()
    assert "Questions 4" in text
    assert "Generate 36 exact Verify 36 exact Rank" in text
    assert "Summarise 8 8 All" in text  # each question keeps two, unless it is difficult
    assert "No price is set for any of its models" in text
    text = plain(desk.post(reverse("run_new"), form(do="estimate", paths_from=world.run.pk, limit=2)).text)
    assert "Generate" not in text[text.index("Calls by stage") : text.index("No price is set")]
    assert "Verify 18 exact" in text
    assert "Questions 5" in plain(desk.post(reverse("run_new"), form(do="estimate", allow_held_out="on")).text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "Name: This field is required"),
        ({"name": "four"}, "already has this name"),
        ({"name": "a b"}, "valid"),
        ({"easy": 7}, "easy must be below medium"),
        ({"medium": 9}, "must be below the 9 paths"),
        ({"toml": "keep = ["}, "toml:"),
        ({"toml": "surprise = 1"}, "surprise"),
        ({"toml": '[judge]\nendpoint = "nobody"'}, "no endpoint is named"),
        ({"benchmarks": ["mmlu"], "splits": ["test"]}, "No question matches"),
    ],
)
def test_what_cannot_be_run_says_why(world: World, desk: Client, changes: dict[str, Any], words: str) -> None:
    response = desk.post(reverse("run_new"), form(**changes))
    assert response.status_code == 422
    assert words in plain(response.text.replace("&#x27;", "'"))
    assert Run.objects.count() == 1
