"""Money on the pages: what a run's page says of it, the budget form, and the estimate of a run to be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.pipeline.budget import set_budget
from apps.pipeline.models import BudgetChange, RunBudget
from apps.questions.models import Question
from apps.reasoning.models import Run
from tests.factories import make_question, make_run, make_user
from tests.pages.test_override import plain
from tests.pages.test_runs import form
from tests.pipeline.ledgers import call, count, priced, priced_run, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def curator() -> User:
    return make_user("curator")


@pytest.fixture
def desk(curator: User, client: Client) -> Client:
    client.force_login(curator)
    return client


@pytest.fixture
def paid() -> tuple[Run, Question]:
    """One question; the judge has cost 0.75 for two verdicts, 0.25 of it for nothing."""
    run, (question,) = priced_run(1, "judge", currency="EUR")
    count(run, {"stage:verify": 2, "records": 2, "state:ready:": 1})
    write(
        run,
        [
            call(run, question, "verify", "judge", "0.25"),
            call(run, question, "verify", "judge", "0.25"),
            call(run, question, "verify", "judge", "0.25", status="failed", error_class="schema"),
        ],
    )
    return run, question


def page(desk: Client, run: Run) -> str:
    return plain(desk.get(reverse("run", args=(run.pk,))).text.replace("&#x27;", "'"))


def money(desk: Client, run: Run) -> str:
    text = page(desk, run)
    return text[text.index("Every attempt is counted, failed and repeated") : text.index("Composition by benchmark")]


def test_the_runs_page_says_what_it_cost(paid: tuple[Run, Question], desk: Client) -> None:
    text = money(desk, paid[0])

    assert "Verify 2 9 €0.3750 €0.7500" in text
    assert "Generate 0 9 no price no price no price" in text
    assert "A record ready to export €0.3750" in text
    assert "A question ready to export €0.7500" in text
    assert "failed, cut off or refused €0.2500" in text
    assert "No tier yet 1 €0.7500 €0.7500" in text
    assert "sim-judge judge Verify, Rank, Re-verify 3,000 10.0 % 600 €0.7500 simulated text" in text
    assert "No price is set for sim-qwen2.5-72b" in text
    assert "Spent €0.7500" in page(desk, paid[0])


def test_terms_that_are_not_stated_are_warned_of(desk: Client) -> None:
    config = priced()
    config["endpoints"][0] |= {"terms": ""}
    config["endpoints"][1] |= {"terms": "<b>MIT</b>"}
    text = desk.get(reverse("run", args=(make_run(config=config).pk,))).text

    assert text.count("Terms not stated") == 1
    assert "&lt;b&gt;MIT&lt;/b&gt;" in text


def test_a_run_without_prices_says_so(desk: Client) -> None:
    run = make_run(name="free")
    text = page(desk, run)

    assert "No price is set for any model of this run, so no money is counted" in text
    assert "Spent – no price is set for its models" in text
    assert "$0.00" not in text
    assert "By stage" not in text
    assert "sim-judge judge Verify, Rank, Re-verify 0" in text
    assert "free Running simulated its own 0 0 0 no price" in plain(desk.get(reverse("runs")).text)


def test_a_question_says_what_it_cost(paid: tuple[Run, Question], desk: Client) -> None:
    run, question = paid
    address = reverse("run_question", args=(run.pk, question.uid))

    text = plain(desk.get(address).text)
    assert "3 calls, €0.7500" in text
    assert "Verify judge 3 3,000 300 600 €0.7500" in text


def test_the_list_says_what_each_cost(paid: tuple[Run, Question], desk: Client) -> None:
    assert "€0.7500" in plain(desk.get(reverse("runs")).text)


def test_a_run_that_the_budget_paused_says_what_to_do(paid: tuple[Run, Question], desk: Client, client: Client) -> None:
    run, _ = paid
    RunBudget.objects.filter(run=run).update(hard="1.75", stopped_at=timezone.now(), short_of="1.21")
    Run.objects.filter(pk=run.pk).update(state="paused")

    words = (
        "The next call can cost up to €1.21, €0.2100 more than the €1.00 that are left: raise the budget and resume."
    )
    assert words + " Raise it…" in page(desk, run)
    set_budget(run=run, hard=Decimal("1.80"), soft=None)
    assert "The next call can cost up to €1.21, €0.1600 more than the €1.05 that are left" in page(desk, run)
    set_budget(run=run, hard=Decimal("1.96"), soft=None)
    assert "paused this run" not in page(desk, run)


def test_only_a_curator_is_offered_the_budget(paid: tuple[Run, Question], client: Client) -> None:
    run, _ = paid
    RunBudget.objects.filter(run=run).update(hard="1", stopped_at=timezone.now(), short_of="1")
    Run.objects.filter(pk=run.pk).update(state="paused")
    client.force_login(make_user("clinician"))
    text = client.get(reverse("run", args=(run.pk,))).text

    assert "The hard budget paused this run" in text
    assert reverse("run_budget", args=(run.pk,)) not in text


def test_a_soft_budget_that_is_passed_warns(paid: tuple[Run, Question], desk: Client) -> None:
    run, _ = paid
    set_budget(run=run, hard=None, soft=Decimal("0.76"))
    assert "passed its soft budget" not in page(desk, run)
    set_budget(run=run, hard=None, soft=Decimal("0.75"))
    assert "passed its soft budget: €0.7500 is spent, and €0.7500 was to warn" in page(desk, run)


def test_a_hard_budget_that_will_not_do_says_how_far_it_goes(desk: Client) -> None:
    run, _ = priced_run(0, "judge")
    count(
        run,
        {
            "questions": 10, "stage:verify": 45, "cost_e8:stage:verify": 45 * 10**8, "cost_e8": 45 * 10**8,
            "stage:rank": 99, "stage:reverify": 99,
        },
    )  # fmt: skip
    set_budget(run=run, hard=Decimal("54"), soft=None)

    assert "The hard budget of $54.00 ends at about 60 % of the questions" in page(desk, run)


def test_a_budget_is_set_with_its_history(paid: tuple[Run, Question], desk: Client, curator: User) -> None:
    run, _ = paid
    set_budget(run=run, hard=Decimal(5), soft=None)
    address = reverse("run_budget", args=(run.pk,))

    response = desk.post(address, {"hard": "12.5", "soft": "10", "do": "set"}, follow=True)

    run.money.refresh_from_db()
    assert (run.money.hard, run.money.soft) == (Decimal("12.5"), Decimal(10))
    assert BudgetChange.objects.get(run=run, hard="12.5").by == curator
    assert f"The budget of {run.name} is set." in response.text
    text = plain(desk.get(address).text)
    assert f"{curator.username} €12.50 €10.00" in text
    assert "from the command line €5.00 no warning" in text
    assert 'value="12.5"' in desk.get(address).text
    desk.post(address, {"hard": "", "soft": ""})
    run.money.refresh_from_db()
    assert (run.money.hard, run.money.soft) == (None, None)


@pytest.mark.parametrize(
    ("state", "do", "after"),
    [("paused", "resume", "running"), ("paused", "set", "paused"), ("running", "set", "running")],
)
def test_a_budget_is_raised_and_the_run_goes_on(
    paid: tuple[Run, Question], desk: Client, state: str, do: str, after: str
) -> None:
    run, _ = paid
    RunBudget.objects.filter(run=run).update(hard="1", stopped_at=timezone.now(), short_of="1.21")
    Run.objects.filter(pk=run.pk).update(state=state)
    address = reverse("run_budget", args=(run.pk,))
    assert ("Set and resume" in desk.get(address).text) == (state == "paused")

    desk.post(address, {"hard": "30", "soft": "", "do": do})

    run.refresh_from_db()
    assert run.state == after
    assert run.money.short_of is None


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"hard": "-1"}, "Stop at: Ensure this value is greater than or equal to 0"),
        ({"hard": "lots"}, "Stop at: Enter a number"),
        ({"hard": "1.00001"}, "no more than 4 decimal places"),
        ({"hard": "NaN"}, "Stop at: Enter a number"),
        ({"hard": "1", "soft": "2"}, "Warn at: The amount that warns must not be above the one that stops"),
        ({"soft": "1" * 20}, "Warn at: Ensure"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    paid: tuple[Run, Question], desk: Client, sent: dict[str, str], words: str
) -> None:
    run, _ = paid
    response = desk.post(reverse("run_budget", args=(run.pk,)), sent)

    assert response.status_code == 422
    assert words in plain(response.text)
    assert not BudgetChange.objects.exists()
    assert RunBudget.objects.get(run=run).hard is None


def test_imported_paths_have_no_budget(desk: Client) -> None:
    run = make_run(config={"imported": True})

    assert desk.get(reverse("run_budget", args=(run.pk,))).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"hard": "12.5"}, 200, ""),
        ({"hard": None, "soft": 3}, 200, ""),
        ({}, 422, "body.hard"),
        ({"hard": -1}, 422, "body.hard"),
        ({"hard": "1", "soft": "2"}, 422, "soft"),
        ({"hard": "x"}, 422, "body.hard"),
    ],
)
def test_the_api_sets_and_tells(
    paid: tuple[Run, Question], desk: Client, body: dict[str, Any], status: int, field: str
) -> None:
    run, _ = paid
    response = desk.put(f"/api/v1/runs/{run.name}/budget", body, content_type="application/json")

    assert response.status_code == status
    said = response.json()
    if status == 200:
        assert said == desk.get(f"/api/v1/runs/{run.name}/money").json()
        assert (said["spent"], said["wasted"], said["currency"]) == ("0.75000000", "0.25000000", "EUR")
        assert said["by_stage"]["verify"] == "0.75000000"
        assert said["hard"] == ("12.5000" if body["hard"] else None)
        assert said["by_model"][3]["terms"] == "simulated text"
    else:
        assert said["field"].removeprefix("body.") == field.removeprefix("body.")
    assert BudgetChange.objects.count() == (status == 200)


def test_the_new_run_gets_its_budget_and_currency(desk: Client) -> None:
    make_question()
    desk.post(reverse("run_new"), form(name="limited", hard="40", soft="30.5", currency="CHF", sample=1))
    run = Run.objects.get(name="limited")

    assert (run.money.hard, run.money.soft) == (Decimal(40), Decimal("30.5"))
    assert (run.config["currency"], run.config["questions"]["sample"]) == ("CHF", 1)
    assert BudgetChange.objects.get(run=run).hard == 40
    desk.post(reverse("run_new"), form(name="likewise", start_from=run.pk))
    assert Run.objects.get(name="likewise").config["budget"] == {"hard": "40", "soft": "30.5"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hard": "1", "soft": "2"}, "soft must not be above hard"),
        ({"hard": "-1"}, "Stop at: Ensure"),
        ({"currency": "euro"}, "Currency: Three capital letters"),
        ({"sample": 0}, "Drawn at random: Ensure"),
    ],
)
def test_what_cannot_be_paid_is_not_created(desk: Client, changes: dict[str, Any], words: str) -> None:
    make_question()
    response = desk.post(reverse("run_new"), form(**changes))

    assert response.status_code == 422
    assert words in plain(response.text)
    assert not Run.objects.exists()


def test_the_form_says_what_a_run_will_cost(desk: Client) -> None:
    for _ in range(3):
        make_question()
    base = make_run(name="base", config=priced("judge", currency="EUR"))
    text = plain(desk.post(reverse("run_new"), form(do="estimate", start_from=base.pk)).text)

    assert "Money by stage" in text
    assert "Generate no price" in text
    assert "Verify €0." in text
    assert "sim-judge" in text
    assert "published: 225 tokens a response" in text
    assert "3 of the questions chosen, 4 characters a token" in text


def test_the_runs_page_asks_little(
    paid: tuple[Run, Question], desk: Client, django_assert_max_num_queries: Any
) -> None:
    run, _ = paid
    page(desk, run)  # the first one works out the estimate
    with django_assert_max_num_queries(16):
        page(desk, run)
