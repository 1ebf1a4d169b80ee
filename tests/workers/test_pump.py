"""A pump on a real ledger with models in this process: claiming, draining, deferring, and what a lost lease may write."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from apps.pipeline import store
from apps.pipeline.config import parse_config
from apps.pipeline.models import Call, Failure, PumpLease, Task
from apps.pipeline.protocol import ModelError, Reply, Request
from apps.pipeline.services import create_run, pause_run, start_run
from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import ReasoningPath, Run
from apps.reasoning.selectors import run_status
from tests.factories import make_project, make_question
from workers import leases, reconciler
from workers.pump import Pump

pytestmark = pytest.mark.django_db(transaction=True)
QUESTIONS = 3
SAMPLES = 3  # of one generator a question
NEVER = threading.Event().is_set


class Models:
    """Answers every request; `before` may raise a ModelError or do something to the ledger first."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.before = before
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0

    async def complete(self, request: Request) -> Reply:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.to_thread(self._before, self.asked)
        finally:
            self.at_once -= 1
        return Reply(
            "One step after the other.\nFinal answer: A. Infuse bicarbonate slowly", model=request.endpoint.model
        )

    def _before(self, number: int) -> None:
        try:
            self.before(number)
        finally:
            connection.close()

    async def close(self) -> None:
        return None


@pytest.fixture
def run() -> Run:
    for number in range(QUESTIONS):
        make_question(stem=f"Case {number}: which measure comes first?", key=0)
    run = create_run(project=make_project(), name="pumped", config=parse_config({}))
    start_run(run=run)
    return run


def lane_of(run: Run) -> str:
    return f"generate@{run.config['generators'][0]['endpoint']}"


def pump(run: Run, models: Models, stop: Callable[[], bool] = NEVER) -> bool:
    return Pump(lane_of(run), 0, lambda: models, stop).run()


def tasks(run: Run) -> list[str]:
    return list(Task.objects.filter(run=run, lane=lane_of(run)).order_by("id").values_list("state", flat=True))


def test_a_pump_works_its_lane_off_and_gives_its_slot_back(run: Run) -> None:
    models = Models()
    assert pump(run, models) is False
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * SAMPLES == models.asked
    assert tasks(run) == ["idle"] * QUESTIONS
    assert not PumpLease.objects.exists()
    verify = Task.objects.filter(run=run, lane__startswith="verify@")
    assert verify.filter(state="ready").count() == QUESTIONS, "new paths must wake the judge's lane"
    assert check_run(run) == []


def test_a_taken_slot_is_left_alone(run: Run) -> None:
    assert leases.claim_pump(lane_of(run), 0) is not None
    models = Models()
    assert pump(run, models) is False
    assert models.asked == 0
    assert PumpLease.objects.count() == 1


@pytest.mark.slow
def test_who_lost_the_lease_writes_only_its_calls(run: Run) -> None:
    """The calls were paid; the outputs are another pump's to make."""

    def lose(number: int) -> None:
        PumpLease.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert pump(run, Models(lose)) is False
    assert Call.objects.filter(run=run).count() > 0
    assert not ReasoningPath.objects.filter(run=run).exists()
    assert set(tasks(run)) == {"ready"}
    assert check_run(run) == []
    assert pump(run, Models()) is False
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * SAMPLES


def test_a_stopping_pump_drains_and_returns_the_rest(run: Run) -> None:
    stopping = threading.Event()
    assert pump(run, Models(lambda number: stopping.set()), stopping.is_set) is False
    written = ReasoningPath.objects.filter(run=run).count()
    assert written == Call.objects.filter(run=run).count() > 0, "what was in flight is kept"
    assert "leased" not in tasks(run)
    assert not PumpLease.objects.exists()


def test_a_model_that_is_not_there_makes_questions_wait(run: Run) -> None:
    def fail(number: int) -> None:
        raise ModelError("connection", "no connection")

    stopping = threading.Event()

    def fail_and_stop(number: int) -> None:
        stopping.set()  # no quick tries: the pump is to end
        fail(number)

    assert pump(run, Models(fail_and_stop), stopping.is_set) is False
    assert set(tasks(run)) == {"ready"}
    waiting = Task.objects.filter(run=run, lane=lane_of(run))
    assert all(task.not_before and "no connection" in task.last_error and task.attempts for task in waiting)
    assert not Failure.objects.exists(), "a model that comes back later loses no question"
    assert set(Call.objects.values_list("error_class", flat=True)) == {"connection"}
    assert check_run(run) == []


@pytest.mark.slow
def test_a_refused_request_is_set_aside_at_once(run: Run) -> None:
    def refuse(number: int) -> None:
        raise ModelError("refused", "the prompt is too long", status=400)

    models = Models(refuse)
    assert pump(run, models) is False
    assert models.asked == QUESTIONS * SAMPLES == Failure.objects.filter(run=run, error_class="refused").count()
    assert tasks(run) == ["idle"] * QUESTIONS
    assert check_run(run) == []


def test_an_expired_key_sets_nothing_aside_and_is_not_asked_again_and_again(run: Run) -> None:
    """The key is put right later, and every question is still there."""
    stopping = threading.Event()

    def no_access(number: int) -> None:
        if number >= SAMPLES:
            stopping.set()
        raise ModelError("access", "401: the key has expired", status=401)

    models = Models(no_access)
    assert pump(run, models, stopping.is_set) is False
    assert models.asked <= QUESTIONS * SAMPLES
    waiting = Task.objects.filter(run=run, lane=lane_of(run))
    assert set(waiting.values_list("state", "attempts")) == {("ready", 0)}, "no question has used up its patience"
    assert not Failure.objects.exists()
    assert set(Call.objects.values_list("error_class", flat=True)) == {"access"}
    assert check_run(run) == []


@pytest.mark.slow
def test_a_paused_run_is_not_leased(run: Run) -> None:
    pause_run(run=run)
    models = Models()
    assert pump(run, models) is False
    assert models.asked == 0
    assert tasks(run) == ["ready"] * QUESTIONS


@pytest.mark.slow
def test_no_more_calls_at_once_than_the_endpoint_takes(run: Run) -> None:
    endpoints = [{**endpoint, "max_in_flight": 2} for endpoint in run.config["endpoints"]]
    Run.objects.filter(pk=run.pk).update(config={**run.config, "endpoints": endpoints})
    models = Models()
    assert pump(run, models) is False
    assert models.most_at_once <= 2
    assert models.asked == QUESTIONS * SAMPLES


def test_pumps_of_one_lane_are_one_a_worker_process(run: Run) -> None:
    lane = lane_of(run)
    assert leases.claim_pump(lane, 0, alone=True) is not None
    assert leases.claim_pump(lane, 1, alone=True) is None, "this process pumps the lane already"
    PumpLease.objects.filter(lane=lane).update(owner="elsewhere:1:1")
    assert leases.claim_pump(lane, 1, alone=True) is not None


def test_a_lane_that_leaves_work_lying_gets_a_pump_for_each_worker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of(run)
    assert reconciler.lanes_with_work(3)[lane] == 0
    first = leases.claim_pump(lane, 0)
    assert lane not in reconciler.lanes_with_work(3), "what is ready is the first pump's next lease"
    monkeypatch.setattr(reconciler, "SPARE", QUESTIONS)
    assert reconciler.lanes_with_work(3)[lane] == 1
    assert lane not in reconciler.lanes_with_work(1), "nobody is there to take it"
    leases.claim_pump(lane, 1)
    assert first is not None
    leases.release_pump(first)
    assert reconciler.lanes_with_work(3)[lane] == 0, "the free slot, before a third"


def test_a_clock_that_is_set_back_while_a_call_is_away_costs_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10_000))

    class Back(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(minutes=next(times))

    monkeypatch.setattr("workers.attempts.datetime", Back)
    assert pump(run, Models()) is False
    assert ReasoningPath.objects.filter(run=run).count() == QUESTIONS * SAMPLES
    assert max(Call.objects.values_list("latency_ms", flat=True)) < 60_000


@pytest.mark.parametrize("written", [False, True], ids=["before the commit", "after the commit"])
def test_a_connection_lost_while_writing_costs_no_call(
    run: Run, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    lost: list[bool] = []

    def flush(batch: Any, **words: Any) -> bool:
        if batch.calls and not lost:
            lost.append(store.flush(batch, **words) if written else False)
            raise OperationalError("the server closed the connection unexpectedly")
        return store.flush(batch, **words)

    monkeypatch.setattr("workers.pump.flush", flush)
    monkeypatch.setattr("workers.pump.AGAIN_S", 0.01)
    models = Models()
    assert pump(run, models) is False
    assert lost == [written]
    assert models.asked == Call.objects.count() == ReasoningPath.objects.count() == QUESTIONS * SAMPLES
    assert run_status(run)["calls"] == QUESTIONS * SAMPLES
    assert tasks(run) == ["idle"] * QUESTIONS
    assert check_run(run) == []


def test_calls_are_counted_by_worker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONMED_WORKER", "host-7")
    pump(run, Models())
    assert run_status(run)["workers"] == {"host-7": QUESTIONS * SAMPLES}


def test_a_dead_process_loses_its_lease_and_a_living_one_keeps_it(run: Run) -> None:
    token = leases.claim_pump(lane_of(run), 0)
    assert isinstance(token, uuid.UUID)
    assert len(leases.lease_tasks(token, lane_of(run), 2)) == 2
    assert leases.expire_pumps() == 0
    host, _pid, _started = leases.owner_name().split(":")
    PumpLease.objects.filter(pk=token).update(owner=f"{host}:{2**22 + 1}:1")
    assert leases.expire_pumps() == 1
    assert tasks(run) == ["ready"] * QUESTIONS
    assert leases.beat(token) is False
