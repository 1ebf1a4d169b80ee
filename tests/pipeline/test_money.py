"""A run's money: sums that agree to the last digit, and forecasts that can be worked out by hand."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.pipeline.budget import set_budget
from apps.pipeline.estimate import output_costs
from apps.pipeline.models import BudgetChange, Call, Reservation, RunBudget
from apps.pipeline.money import has_prices, money_of, money_status
from apps.pipeline.money_words import in_words
from apps.reasoning.ledger_money import check_money
from apps.reasoning.models import Run, RunQuestion
from apps.reasoning.selectors import run_counters
from tests.factories import make_run
from tests.pipeline.ledgers import call, count, priced, priced_run, write

pytestmark = pytest.mark.django_db
D = Decimal


def test_a_small_ledger_by_hand() -> None:
    run, (one, two) = priced_run(2, "judge", "writer")
    RunQuestion.objects.filter(run=run, question=two).update(tier="medium", error_count=5)
    count(run, {"tier:medium": 1, "state:ready:": 1, "records": 2, "stage:verify": 2, "stage:refine": 1})
    write(
        run,
        [
            call(run, one, "generate", "qwen2.5-72b", "0"),
            call(run, one, "verify", "judge", "0.25"),
            call(run, two, "verify", "judge", "0.50", tokens_cached=300),
            call(run, two, "verify", "judge", "0.125", status="retried", error_class="schema"),
            call(run, two, "refine", "writer", "2.00000001"),
            call(run, two, "refine", "writer", "1", status="unknown", error_class="unknown", tokens_in=None,
                 tokens_out=None, tokens_cached=None),
        ],
    )  # fmt: skip

    money = money_of(run)

    assert money.spent == D("3.87500001")
    assert money.wasted == D("1.125")
    assert money.unknown == D("1")
    by_stage = {s.stage: s for s in money.stages}
    assert by_stage["verify"].spent == D("0.875")
    assert by_stage["verify"].per_output == D("0.4375")
    assert by_stage["refine"].spent == D("3.00000001")
    assert by_stage["rank"].spent == 0
    assert (by_stage["generate"].priced, by_stage["generate"].per_output) == (False, None)
    assert {t.tier: (t.questions, t.spent) for t in money.tiers} == {
        "easy": (0, 0),
        "medium": (1, D("3.62500001")),
        "difficult": (0, 0),
        "": (1, D("0.25")),
    }
    models = {m.endpoint.name: m for m in money.models}
    assert models["judge"].stages == ("verify", "rank", "reverify")
    assert (models["judge"].spent, models["judge"].tokens_in) == (D("0.875"), 3000)
    assert (models["judge"].tokens_out, models["judge"].tokens_cached) == (600, 500)
    assert (models["writer"].tokens_in, models["qwen2.5-72b"].priced) == (1000, False)
    assert money.per_record == D("3.87500001") / 2
    assert money.per_ready == D("3.87500001")
    assert money.unpriced == ("sim-qwen2.5-72b", "sim-r1-distill-70b", "sim-huatuogpt-o1-70b")


STAGES = st.sampled_from(["generate", "verify", "rank", "refine", "regenerate", "reverify", "summarise"])
STATUSES = st.sampled_from(["ok", "ok", "ok", "retried", "failed", "unknown"])
AMOUNTS = st.decimals(min_value=0, max_value=99, places=8)
CALLS = st.tuples(st.integers(0, 2), STAGES, st.sampled_from(["judge", "writer"]), STATUSES, AMOUNTS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(CALLS, max_size=25), cut=st.integers(0, 25), tiers=st.lists(st.sampled_from(["", "easy", "medium", "difficult"]), min_size=3, max_size=3))  # fmt: skip
def test_all_sums_are_the_sum_of_the_calls_to_the_last_digit(rows: list[Any], cut: int, tiers: list[str]) -> None:
    run, questions = priced_run(3)
    for question, tier in zip(questions, tiers, strict=True):
        RunQuestion.objects.filter(run=run, question=question).update(tier=tier, error_count=3 if tier else None)
    made = [call(run, questions[q], s, e, c, status=k, error_class="" if k == "ok" else "schema") for q, s, e, k, c in rows]  # fmt: skip
    for part in (made[:cut], made[cut:]):
        write(run, part)

    money = money_of(run)

    total = sum((c.cost for c in Call.objects.filter(run=run)), D(0))
    assert money.spent == total == RunBudget.objects.get(run=run).spent
    assert sum(s.spent for s in money.stages) == total
    assert sum(t.spent for t in money.tiers) == total
    assert sum(m.spent for m in money.models) == total
    assert sum(RunQuestion.objects.filter(run=run).values_list("cost", flat=True)) == total
    assert money.wasted == sum(c for _, _, _, k, c in rows if k != "ok")
    assert money.unknown == sum(c for _, _, _, k, c in rows if k == "unknown")
    assert list(check_money(run)) == []


def halfway(**fields: Any) -> Run:
    """100 questions; 50 have a tier: 40 without an error, 5 with six, 5 with nine. An output costs 0.01 in verify and
    rank, 0.20 in refine, 1.00 in regenerate; generation is free; the writer summarises at 0.02."""
    run, _ = priced_run(0, "judge", "writer", **fields)
    count(
        run,
        {
            "questions": 100, "errors:0": 40, "errors:6": 5, "errors:9": 5, "tier:easy": 40, "tier:medium": 5,
            "tier:difficult": 5, "stage:generate": 900, "stage:verify": 500, "stage:rank": 300, "stage:refine": 20,
            "stage:regenerate": 20, "stage:reverify": 40, "stage:summarise": 60,
            "cost_e8:stage:verify": 5 * 10**8, "cost_e8:stage:rank": 3 * 10**8, "cost_e8:stage:refine": 4 * 10**8,
            "cost_e8:stage:regenerate": 20 * 10**8, "cost_e8:stage:reverify": 4 * 10**7,
            "cost_e8:stage:summarise": 12 * 10**7, "cost_e8": 336 * 10**7,
        },
    )  # fmt: skip
    return run


def test_what_is_to_come_by_hand() -> None:
    run = halfway()

    money = money_of(run)

    assert money.spent == D("33.6")
    left = {s.stage: (s.expected, s.to_finish) for s in money.stages}
    assert left["generate"] == (900, None)  # no price
    assert left["verify"] == (900, D("4.00"))
    # 40 × 9 scores and 5 × 3; as many again for the 50 questions without a tier
    assert left["rank"] == (750, D("4.50"))
    assert left["refine"] == (20, 0)  # 5 × 2, twice
    assert left["regenerate"] == (20, 0)  # 5, twice: more were made already than foreseen
    assert left["reverify"] == (40, 0)
    assert left["summarise"] == (190, D("2.60"))  # two of each but the difficult, which leave one
    assert money.to_finish is not None
    assert money.to_finish.expected == D("11.10")
    assert money.in_all is not None
    assert money.in_all.expected == D("44.70")
    assert not money.guesses


def test_the_interval_is_that_of_the_tiers_still_to_come() -> None:
    money = money_of(halfway())

    # A question without errors takes 9 × 0.01 + 2 × 0.02 = 0.13, one with six 3 × 0.01 + 2 × (0.20 + 0.01 + 0.02) = 0.49,
    # one with nine 1.00 + 0.01 + 0.02 = 1.03. Mean 0.256, variance 0.8 × 0.126² + 0.1 × 0.234² + 0.1 × 0.774² = 0.078084.
    half = D("1.96") * (D("0.078084") * (D(2500) / 50 + 50)).sqrt()
    assert money.to_finish is not None
    assert money.to_finish.high == D("11.10") + half
    assert money.to_finish.low == D("11.10") - half


def test_before_a_stage_made_enough_its_cost_is_the_estimates() -> None:
    run, _ = priced_run(4, "judge")
    count(run, {"stage:verify": 19, "cost_e8:stage:verify": 10**10})

    money = money_of(run)

    verify = next(s for s in money.stages if s.stage == "verify")
    assert verify.guessed
    assert verify.to_finish == 17 * output_costs(run)["verify"]
    assert verify.to_finish is not None
    assert 0 < verify.to_finish < 1  # not 17 × 100 / 19, as the counters would have it
    assert money.to_finish is not None
    assert money.to_finish.low is None
    count(run, {"stage:verify": 1})  # the twentieth
    assert not next(s for s in money_of(run).stages if s.stage == "verify").guessed


def test_generators_that_advance_apart_are_reckoned_apart() -> None:
    run, _ = priced_run(0, "qwen2.5-72b", "r1-distill-70b")
    count(
        run,
        {
            "questions": 100, "stage:generate": 400, "calls:generate@qwen2.5-72b": 300, "calls:generate@r1-distill-70b": 50,
            "calls:generate@huatuogpt-o1-70b": 50, "cost_e8:stage:generate": 8 * 10**8,
            "cost_e8:endpoint:qwen2.5-72b": 3 * 10**8, "cost_e8:endpoint:r1-distill-70b": 5 * 10**8, "cost_e8": 8 * 10**8,
        },
    )  # fmt: skip

    generate = next(s for s in money_of(run).stages if s.stage == "generate")

    assert generate.to_finish == pytest.approx(D("25"))  # 250 of the second at 0.10; the mean would say 500 × 0.02 = 10


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_a_run_that_ended_has_nothing_to_come(state: str) -> None:
    run = halfway()
    Run.objects.filter(pk=run.pk).update(state=state)
    run.refresh_from_db()
    money = money_of(run)

    assert money.to_finish is None
    assert money.in_all is None
    assert money.lasts is None
    assert money.spent == D("33.6")


@pytest.mark.parametrize(
    ("hard", "soft", "lasts", "passed"),
    [
        (None, None, None, False),
        ("22.35", None, D("0.5"), False),
        ("44.70", "33.61", None, False),
        ("44.70", "33.60", None, True),
        ("100", "1", None, True),
    ],
)
def test_where_the_budget_ends(hard: str | None, soft: str | None, lasts: Decimal | None, passed: bool) -> None:
    run = halfway()
    set_budget(run=run, hard=D(hard) if hard else None, soft=D(soft) if soft else None)

    money = money_of(run)

    assert money.lasts == lasts
    assert money.soft_passed == passed
    assert money.short is False


def test_when_the_budget_ends_at_the_pace_so_far() -> None:
    run = halfway()
    set_budget(run=run, hard=D("40"), soft=None)
    run.started_at = timezone.now() - timedelta(hours=1)

    assert money_of(run).lasts_seconds == pytest.approx(3600 * 6.4 / 33.6, rel=0.01)
    run.state = "paused"
    assert money_of(run).lasts_seconds is None  # it has no pace


def test_what_is_set_aside_belongs_to_what_is_to_come() -> None:
    run, (one,) = priced_run(1, "judge")
    Reservation.objects.create(run=run, lease=uuid.uuid4(), question=one, stage="verify", item="x", endpoint="judge",
                               model="m", amount=D("0.5"), created_at=timezone.now())  # fmt: skip
    RunBudget.objects.filter(run=run).update(
        reserved=D("0.5"), hard=D("2"), stopped_at=timezone.now(), short_of=D("1.6")
    )
    write(run, [call(run, one, "verify", "judge", "0.25")])

    money = money_of(run)

    assert (money.committed, money.left, money.used) == (D("0.75"), D("1.25"), D("0.375"))
    assert money.short
    assert money.scale == 2
    assert money.to_finish is not None
    assert money.not_set_aside == max(money.to_finish.expected - D("0.5"), 0)


def test_without_a_price_nothing_is_said(django_assert_num_queries: Any) -> None:
    run = make_run()
    with django_assert_num_queries(1):
        money = money_of(run, {"questions": 5})

    assert not money.priced
    assert money.to_finish is None
    assert not has_prices(run.config)
    assert {(s.priced, s.to_finish, s.per_output) for s in money.stages} == {(False, None, None)}
    assert len(money.unpriced) == 5


def test_a_priced_runs_page_costs_one_query_beside_the_counters(django_assert_num_queries: Any) -> None:
    run = halfway()
    counters = run_counters(run)
    with django_assert_num_queries(1):
        money_of(run, counters)
    assert has_prices(run.config)


def test_a_run_that_judges_anothers_paths_generates_nothing() -> None:
    source = make_run()
    run = make_run(config=priced(), paths_from=source)
    run.config["paths_from"] = source.name
    run.save()
    count(run, {"questions": 10, "stage:verify": 90, "cost_e8:stage:verify": 9 * 10**7})

    assert "generate" not in {s.stage for s in money_of(run).stages}


def test_the_status_tells_amounts_as_plain_numbers() -> None:
    run = halfway()
    status = money_status(run)

    assert (status["spent"], status["reserved"], status["hard"]) == ("33.60000000", "0.00000000", None)
    assert status["to_finish"] == "11.10000000"
    assert status["by_stage"]["refine"] == "4.00000000"
    out = StringIO()
    call_command("run_status", run.name, stdout=out)
    assert "refine $4.00" in out.getvalue()
    assert "budget          hard none, soft none" in out.getvalue()


@pytest.mark.parametrize(
    ("options", "hard", "soft"),
    [
        ({"hard": "12.5"}, D("12.5"), D("3")),
        ({"soft": "9"}, D("10"), D("9")),
        ({"hard": "2", "soft": "1"}, D("2"), D("1")),
        ({"none": True}, None, None),
    ],
)
def test_the_command_sets_what_is_said(options: dict[str, Any], hard: Decimal | None, soft: Decimal | None) -> None:
    run = halfway()
    set_budget(run=run, hard=D(10), soft=D(3))
    call_command("set_budget", run.name, stdout=StringIO(), **options)

    run.money.refresh_from_db()
    assert (run.money.hard, run.money.soft) == (hard, soft)
    assert BudgetChange.objects.filter(run=run).count() == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Say --hard"),
        ({"hard": "1", "none": True}, "Say --hard"),
        ({"hard": "much"}, "hard: 'much' is no amount"),
        ({"hard": "NaN"}, "hard: below"),
        ({"hard": "1.00001"}, "four decimal places"),
        ({"hard": "-1"}, "cannot be negative"),
        ({"hard": "1", "soft": "2"}, "soft: "),
    ],
)
def test_the_command_refuses_what_makes_no_sense(options: dict[str, Any], words: str, capsys: Any) -> None:
    run = halfway()
    with pytest.raises(SystemExit) as ended:
        call_command("set_budget", run.name, stdout=StringIO(), **options)

    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not BudgetChange.objects.exists()


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        ("0", "USD", "$0.00"),
        ("1234.5", "EUR", "€1,234.50"),
        ("0.03125", "GBP", "£0.0312"),
        ("0.0000012", "USD", "$0.0000012"),
        ("7", "CHF", "CHF\u00a07.00"),
    ],
)
def test_amounts_in_words(amount: str, currency: str, words: str) -> None:
    assert in_words(D(amount), currency) == words
