"""Money: set aside before a call is sent, settled when its Call is written, booked as unknown when its sender died.

Locks are taken in the order of `store.flush`: RunQuestions, reservations, the run's RunBudget, counters.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction

from apps.pipeline.models import BudgetChange, Call, CallStatus, Reservation, RunBudget
from apps.pipeline.outputs import CallOut
from apps.reasoning.models import Run, RunState
from apps.reasoning.services import add_counters, cost_key, in_e8, lock_questions

UNKNOWN_WORDS = "sent, but the sender died before the reply was booked; counted at the most it can have cost"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An attempt about to be sent. `id`: that of its Call to be. `amount`: the most it can cost."""

    id: uuid.UUID
    run: int
    lease: uuid.UUID
    question: int
    stage: str
    item: str
    endpoint: str
    model: str
    prompt: str
    attempt: int
    amount: Decimal
    created_at: datetime


@transaction.atomic
def reserve(wanted: Sequence[Wanted]) -> set[uuid.UUID]:
    """Set money aside, first come first served; returns what was granted.

    A run with a call that does not fit, and with nothing in flight that could still turn out cheaper, is paused.
    """
    granted: list[Wanted] = []
    by_run: dict[int, list[Wanted]] = defaultdict(list)
    for one in wanted:
        by_run[one.run].append(one)
    for run_id in sorted(by_run):
        granted += _reserve_of(run_id, by_run[run_id])
    Reservation.objects.bulk_create(
        Reservation(
            id=w.id, run_id=w.run, lease=w.lease, question_id=w.question, stage=w.stage, item=w.item, endpoint=w.endpoint,
            model=w.model, prompt=w.prompt, attempt=w.attempt, amount=w.amount, created_at=w.created_at,
        )
        for w in granted
    )  # fmt: skip
    return {w.id for w in granted}


def _reserve_of(run_id: int, wanted: Sequence[Wanted]) -> list[Wanted]:
    money = RunBudget.objects.select_for_update().get(pk=run_id)
    granted: list[Wanted] = []
    short: Wanted | None = None
    for one in wanted:
        if money.hard is not None and money.spent + money.reserved + one.amount > money.hard:
            short = short or one
            continue
        money.reserved += one.amount
        granted.append(one)
    if granted:
        money.save(update_fields=["reserved"])
    elif short is not None and not money.reserved:
        _stop(run_id, short.amount)
    return granted


def _stop(run_id: int, short_of: Decimal) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pipeline_runbudget SET stopped_at = now(), short_of = %s WHERE run_id = %s", [short_of, run_id]
        )
    Run.objects.filter(pk=run_id, state=RunState.RUNNING).update(state=RunState.PAUSED)


def settle(cursor: Any, *, run_id: int, calls: Sequence[CallOut], released: Sequence[uuid.UUID] = ()) -> Counter[str]:
    """In the transaction that writes `calls`, after their questions were locked: give back what was set aside for them
    and book what they cost. Returns the change of the run's counters."""
    change = _tokens(calls)
    ids = [c.id for c in calls if c.reserved] + list(released)
    freed = Decimal(0)
    if ids:
        cursor.execute("DELETE FROM pipeline_reservation WHERE id = ANY(%s) RETURNING amount", [ids])
        freed = sum((row[0] for row in cursor.fetchall()), Decimal(0))
    paid = [c for c in calls if c.cost]
    spent = sum((c.cost for c in paid), Decimal(0))
    change.update(_book_costs(cursor, run_id, [(c.question, c.stage, c.endpoint, c.status, c.cost) for c in paid]))
    if freed or spent:
        cursor.execute(
            "UPDATE pipeline_runbudget SET spent = spent + %s, reserved = reserved - %s WHERE run_id = %s",
            [spent, freed, run_id],
        )
    return change


def forget_unknown(cursor: Any, *, run_id: int, ids: Sequence[uuid.UUID]) -> Counter[str]:
    """Replies that came after all: take their placeholders out of the books, before the real Calls are written."""
    if not ids:
        return Counter()
    cursor.execute(
        "DELETE FROM pipeline_call WHERE id = ANY(%s) AND status = 'unknown'"
        " RETURNING question_id, stage, endpoint, status, -cost",
        [list(ids)],
    )
    rows = cursor.fetchall()
    if not rows:
        return Counter()
    change = _book_costs(cursor, run_id, rows)
    change["calls"] -= len(rows)
    for _question, stage, endpoint, *_rest in rows:
        change[f"calls:{stage}"] -= 1
        change[f"calls:{stage}@{endpoint}"] -= 1
        change["failed:unknown"] -= 1
    back = sum((row[4] for row in rows), Decimal(0))
    cursor.execute("UPDATE pipeline_runbudget SET spent = spent + %s WHERE run_id = %s", [back, run_id])
    return change


def book_unknown() -> int:
    """Reservations whose lease is gone: their senders died. Each becomes a Call at its worst case; returns how many."""
    orphans = (
        "SELECT DISTINCT run_id FROM pipeline_reservation r"
        " WHERE NOT EXISTS (SELECT 1 FROM pipeline_pumplease p WHERE p.id = r.lease)"
    )
    with connection.cursor() as cursor:
        cursor.execute(orphans)
        runs = [row[0] for row in cursor.fetchall()]
    return sum(_book_unknown_of(run_id) for run_id in runs)


@transaction.atomic
def _book_unknown_of(run_id: int) -> int:
    gone = "run_id = %s AND NOT EXISTS (SELECT 1 FROM pipeline_pumplease p WHERE p.id = lease)"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT question_id FROM pipeline_reservation WHERE {gone}", [run_id])  # noqa: S608
        lock_questions(run=Run.objects.get(pk=run_id), question_ids=[row[0] for row in cursor.fetchall()])
        cursor.execute(
            f"DELETE FROM pipeline_reservation WHERE {gone} RETURNING id, question_id, stage, item, endpoint, model,"  # noqa: S608
            " prompt, attempt, amount, created_at",
            [run_id],
        )
        rows = cursor.fetchall()
        Call.objects.bulk_create(
            Call(
                id=pk, run_id=run_id, question_id=question, stage=stage, item=item, endpoint=endpoint, model=model,
                prompt=prompt, attempt=attempt, cost=amount, created_at=created_at, status=CallStatus.UNKNOWN,
                error_class="unknown", error=UNKNOWN_WORDS,
            )
            for pk, question, stage, item, endpoint, model, prompt, attempt, amount, created_at in rows
        )  # fmt: skip
        change = _book_costs(cursor, run_id, [(r[1], r[2], r[4], "unknown", r[8]) for r in rows])
        total = sum((row[8] for row in rows), Decimal(0))
        cursor.execute(
            "UPDATE pipeline_runbudget SET spent = spent + %s, reserved = reserved - %s WHERE run_id = %s",
            [total, total, run_id],
        )
    change["calls"] += len(rows)
    change["failed:unknown"] += len(rows)
    for row in rows:
        change[f"calls:{row[2]}"] += 1
        change[f"calls:{row[2]}@{row[4]}"] += 1
    add_counters(run_id=run_id, change=change)
    return len(rows)


@transaction.atomic
def set_budget(*, run: Run, hard: Decimal | None, soft: Decimal | None, by: User | None = None) -> RunBudget:
    """A new budget; a run that the old one paused stays paused until it is resumed. Raises ValueError."""
    for name, value in (("hard", hard), ("soft", soft)):
        if value is not None and value < 0:
            raise ValueError(f"{name}: a budget cannot be negative")
    if hard is not None and soft is not None and soft > hard:
        raise ValueError("soft: the amount that warns must not be above the one that stops")
    money = RunBudget.objects.select_for_update().get(pk=run.pk)
    money.hard, money.soft = hard, soft
    if money.short_of is not None and (hard is None or money.spent + money.reserved + money.short_of <= hard):
        money.stopped_at = money.short_of = None
    money.save(update_fields=["hard", "soft", "stopped_at", "short_of"])
    BudgetChange.objects.create(run=run, hard=hard, soft=soft, by=by)
    return money


def _tokens(calls: Iterable[CallOut]) -> Counter[str]:
    change: Counter[str] = Counter()
    for c in calls:
        if c.tokens_in:
            change[f"tokens_in:{c.endpoint}"] += c.tokens_in
        if c.tokens_out:
            change[f"tokens_out:{c.endpoint}"] += c.tokens_out
        if c.tokens_cached:
            change[f"tokens_cached:{c.endpoint}"] += c.tokens_cached
    return change


def _book_costs(cursor: Any, run_id: int, rows: Sequence[tuple[int, str, str, str, Decimal]]) -> Counter[str]:
    """(question, stage, endpoint, status, cost) of calls: added to their questions; returns the counters' change."""
    change: Counter[str] = Counter()
    if not rows:
        return change
    by_question: dict[int, Decimal] = defaultdict(Decimal)
    for question, stage, endpoint, status, cost in rows:
        by_question[question] += cost
        e8 = in_e8(cost)
        change["cost_e8"] += e8
        change[f"cost_e8:stage:{stage}"] += e8
        change[f"cost_e8:endpoint:{endpoint}"] += e8
        if status != CallStatus.OK:
            change["cost_e8:wasted"] += e8
        if status == CallStatus.UNKNOWN:
            change["cost_e8:unknown"] += e8
    cursor.execute(
        "UPDATE reasoning_runquestion r SET cost = r.cost + n.cost"
        " FROM unnest(%s::bigint[], %s::numeric[]) AS n(question, cost)"
        " WHERE r.run_id = %s AND r.question_id = n.question RETURNING r.tier, n.cost",
        [list(by_question), list(by_question.values()), run_id],
    )
    for tier, cost in cursor.fetchall():
        change[cost_key(tier)] += in_e8(cost)
    return change
