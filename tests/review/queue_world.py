"""A run with a queue and people, for tests of queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection

from apps.reasoning.models import Run
from apps.review.models import Claim, QueueItem, ReviewQueue
from apps.review.queues.build import build_queue
from apps.review.queues.claims import claim_next
from apps.review.queues.judging import JudgeResult, judge_item
from apps.review.queues.plans import parse_plan
from apps.review.queues.said import Said
from tests.factories import make_user
from tests.reasoning.test_ledger import make_true_run

ERROR = Said(label="error", reasons=("wrong_fact",), sentences=(2,), active_ms=4_000)
CORRECT = Said(label="correct")


def make_queue(
    run: Run | None = None, *, questions: int = 3, plan: dict[str, Any] | None = None, **fields: Any
) -> ReviewQueue:
    run = run or make_true_run(questions)
    return build_queue(run=run, name=f"queue-{uuid4()}", plan=parse_plan(plan or {"size": 200_000}), **fields)


def claim_one(queue: ReviewQueue, person: User) -> Claim:
    return claim_next(queue=queue, reviewer=person, prefetch=0)[0]


def judge(claim: Claim, said: Said = ERROR, **changes: Any) -> JudgeResult:
    given: dict[str, Any] = {
        "item": item_of(claim), "reviewer": claim.reviewer, "token": claim.token, "said": said, "idempotency_key": uuid4(),
    }  # fmt: skip
    return judge_item(**(given | changes))


def item_of(claim: Claim) -> QueueItem:
    return QueueItem.objects.select_related("queue__run__project", "queue__project").get(pk=claim.item_id)


def finish_all(queue: ReviewQueue, person: User, said: Said = CORRECT) -> int:
    """Judges until nothing comes; how many."""
    done = 0
    while claims := claim_next(queue=queue, reviewer=person, prefetch=0):
        judge(claims[0], said)
        done += 1
    return done


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """What each gave or raised, all started together, each on a connection of its own."""
    together = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def body(place: int) -> None:
        try:
            connection.ensure_connection()
            together.wait(60)
            results[place] = works[place]()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=body, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def clinicians(n: int) -> list[User]:
    return [make_user() for _ in range(n)]
