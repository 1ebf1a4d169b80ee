"""The books of a run's money: what is set aside, settled, and counted when its sender dies."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.pipeline.budget import Wanted, book_unknown, reserve, set_budget
from apps.pipeline.config import EndpointConfig, parse_config
from apps.pipeline.models import BudgetChange, Call, PumpLease, Reservation, RunBudget
from apps.pipeline.outputs import CallOut
from apps.pipeline.services import create_run, start_run
from apps.pipeline.store import Batch, flush
from apps.questions.models import Question
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Run, RunCounter, RunState
from tests.factories import make_project, make_question

LANE = "generate@qwen2.5-72b"


@pytest.fixture
def run(db: None) -> Run:
    return new_run("10")


def new_run(hard: str | None, name: str = "priced") -> Run:
    for _ in range(2):
        make_question()
    config = parse_config({"budget": {"hard": hard}} if hard else {})
    run = create_run(project=make_project(), name=name, config=config)
    start_run(run=run)
    return run


def new_lease(slot: int = 0) -> uuid.UUID:
    now = datetime.now(UTC)
    lease = PumpLease.objects.create(
        lane=LANE, slot=slot, owner="x:1:1", started_at=now, expires_at=now + timedelta(60)
    )
    return lease.pk


def wanted(run: Run, amount: str, lease: uuid.UUID, question: int | None = None) -> Wanted:
    pk = question or Question.objects.order_by("id").values_list("id", flat=True)[0]
    return Wanted(
        uuid.uuid4(), run.pk, lease, pk, "generate", "q/1", "qwen2.5-72b", "m", "p" * 64, 1, Decimal(amount), datetime.now(UTC)
    )  # fmt: skip


def call_of(one: Wanted, cost: str, status: str = "ok") -> CallOut:
    return CallOut(
        run=one.run, question=one.question, stage=one.stage, item=one.item, endpoint=one.endpoint, model=one.model,
        prompt=one.prompt, params={}, seed=1, attempt=1, status=status, created_at=one.created_at, cost=Decimal(cost),
        tokens_in=10, tokens_out=20, reserved=True, id=one.id, error_class="" if status == "ok" else "schema",
    )  # fmt: skip


def write(run: Run, lease: uuid.UUID, calls: Sequence[CallOut], released: Sequence[uuid.UUID] = ()) -> bool:
    return flush(Batch(run, calls=list(calls), released=list(released)), lane=LANE, lease=lease)


def money_of(run: Run) -> RunBudget:
    return RunBudget.objects.get(pk=run.pk)


def test_no_more_is_set_aside_than_the_budget_allows(run: Run) -> None:
    lease = new_lease()
    asked = [wanted(run, "4", lease) for _ in range(3)]
    assert reserve(asked) == {asked[0].id, asked[1].id}
    assert money_of(run).reserved == Decimal(8)
    assert reserve([wanted(run, "2", lease)]), "a cheaper call still fits"


def test_a_call_that_does_not_fit_pauses_the_run_only_when_nothing_is_in_flight(run: Run) -> None:
    lease = new_lease()
    first = wanted(run, "9", lease)
    reserve([first])
    assert reserve([wanted(run, "3", lease)]) == set()
    run.refresh_from_db()
    assert run.state == RunState.RUNNING, "the call in flight may turn out cheaper"
    write(run, lease, [call_of(first, "8.5")])
    assert reserve([wanted(run, "3", lease)]) == set()
    run.refresh_from_db()
    assert run.state == RunState.PAUSED
    money = money_of(run)
    assert money.stopped_at is not None
    assert (money.short_of, money.spent, money.reserved) == (Decimal(3), Decimal("8.5"), Decimal(0))


def test_a_raised_budget_lets_the_call_through_and_is_remembered(run: Run) -> None:
    lease = new_lease()
    assert reserve([wanted(run, "11", lease)]) == set()
    set_budget(run=run, hard=Decimal(20), soft=Decimal(15))
    assert money_of(run).stopped_at is None
    assert reserve([wanted(run, "11", lease)])
    assert list(BudgetChange.objects.order_by("id").values_list("hard", "soft")) == [(10, None), (20, 15)]


@pytest.mark.parametrize(("hard", "soft"), [("-1", None), ("5", "6")])
def test_a_budget_that_makes_no_sense_is_refused(run: Run, hard: str, soft: str | None) -> None:
    with pytest.raises(ValueError, match=r"^(hard|soft): "):
        set_budget(run=run, hard=Decimal(hard), soft=Decimal(soft) if soft else None)


def test_the_reply_settles_what_was_set_aside(run: Run) -> None:
    lease = new_lease()
    one, other, unsent = (wanted(run, "3", lease) for _ in range(3))
    reserve([one, other, unsent])
    write(run, lease, [call_of(one, "0.12345678"), call_of(other, "1", status="retried")], released=[unsent.id])
    money = money_of(run)
    assert (money.spent, money.reserved) == (Decimal("1.12345678"), Decimal(0))
    assert check_run(run) == []
    assert counters(run)["cost_e8:wasted"] == 100_000_000
    assert counters(run)["cost_e8:tier:none"] == 112_345_678


def test_what_a_dead_sender_sent_is_booked_at_its_most(run: Run) -> None:
    lease = new_lease()
    one, other = wanted(run, "3", lease), wanted(run, "2", lease)
    reserve([one, other])
    assert book_unknown() == 0, "its lease lives"
    PumpLease.objects.all().delete()
    assert book_unknown() == 2
    assert book_unknown() == 0
    money = money_of(run)
    assert (money.spent, money.reserved) == (Decimal(5), Decimal(0))
    assert set(Call.objects.values_list("status", "cost")) == {("unknown", Decimal(3)), ("unknown", Decimal(2))}
    assert counters(run)["cost_e8:unknown"] == 500_000_000
    assert check_run(run) == []


def test_a_reply_that_comes_after_all_replaces_the_unknown_call(run: Run) -> None:
    lease = new_lease()
    one, other = wanted(run, "3", lease), wanted(run, "2", lease)
    reserve([one, other])
    PumpLease.objects.all().delete()
    book_unknown()
    assert write(run, lease, [call_of(one, "1")]) is False, "the lease is lost; the call is written all the same"
    assert Call.objects.get(pk=one.id).status == "ok"
    assert money_of(run).spent == Decimal(3)
    assert counters(run)["cost_e8:unknown"] == 200_000_000
    assert check_run(run) == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_never_pass_the_budget() -> None:
    """First the race, with the check and the write apart; then `reserve`."""
    run = new_run("1")
    lease = new_lease()
    together = threading.Barrier(2)

    def naive() -> None:
        money = money_of(run)
        fits = money.spent + money.reserved + Decimal("0.6") <= (money.hard or 0)
        together.wait()
        if fits:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE pipeline_runbudget SET reserved = reserved + 0.6 WHERE run_id = %s", [run.pk])

    def careful() -> None:
        together.wait()
        reserve([wanted(run, "0.6", lease)])

    in_two_threads(naive)
    assert money_of(run).reserved > 1, "the race that reserve must not have"
    RunBudget.objects.update(reserved=0)
    in_two_threads(careful)
    assert money_of(run).reserved == Decimal("0.6")
    assert Reservation.objects.count() == 1


def in_two_threads(work: object) -> None:
    def once() -> None:
        try:
            work()  # type: ignore[operator]
        finally:
            connection.close()

    threads = [threading.Thread(target=once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "die", "late", "release"]), st.integers(1, 400)), max_size=25
)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_the_books_agree_and_the_budget_holds(steps: list[tuple[str, int]]) -> None:
    with transaction.atomic():
        run = new_run("10", name=f"walk-{uuid.uuid4().hex}")
        lease, open_, lost, slot = new_lease(), [], [], 0
        for step, n in steps:
            amount = Decimal(n) / 100
            if step == "reserve":
                one = wanted(run, str(amount), lease)
                open_ += [one] if one.id in reserve([one]) else []
            elif step == "settle" and open_:
                one = open_.pop()
                write(run, lease, [call_of(one, str(min(amount, one.amount)), "ok" if n % 2 else "failed")])
            elif step == "release" and open_:
                write(run, lease, [], released=[open_.pop().id])
            elif step == "die":
                PumpLease.objects.all().delete()
                book_unknown()
                lost, open_, slot = lost + open_, [], slot + 1
                lease = new_lease(slot)
            elif step == "late" and lost:
                one = lost.pop()
                write(run, one.lease, [call_of(one, str(min(amount, one.amount)))])
            money = money_of(run)
            assert money.spent + money.reserved <= Decimal(10)
        assert check_run(run) == []
        transaction.set_rollback(True)


@given(
    size=st.integers(1, 100_000),
    max_tokens=st.integers(1, 100_000),
    share=st.floats(0, 1),
    out=st.floats(0, 1),
    prices=st.tuples(*[st.decimals(0, 100, places=3)] * 3),
)
def test_no_call_costs_more_than_its_most(size, max_tokens, share, out, prices) -> None:
    price_in, price_out, price_cached = prices
    endpoint = EndpointConfig(
        name="x", base_url="http://h/v1", model="m", price_in=price_in, price_out=price_out, price_cached=price_cached
    )
    cached = int(size * share)
    assert endpoint.cost(size, int(max_tokens * out), cached) <= endpoint.most_it_costs(size, max_tokens)


def counters(run: Run) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in RunCounter.objects.filter(run=run).values_list("key", "value"):
        found[key] = found.get(key, 0) + value
    return found
