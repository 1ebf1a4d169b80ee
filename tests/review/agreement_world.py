"""A ledger in which people judged paths: queues, blind verdicts, overrides, undone ones. For tests of Agreement."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from apps.reasoning.models import Label, ReasoningPath, Run, Verdict
from apps.review.models import Claim, ClaimState, Judgment, Phase, QueueItem, ReviewQueue
from tests.factories import make_finished_run, make_user, make_verdict

FLIP = {Label.CORRECT: Label.ERROR, Label.ERROR: Label.CORRECT}


def make_queue(run: Run, **fields: Any) -> ReviewQueue:
    fields.setdefault("name", f"queue-{ReviewQueue.objects.count() + 1}")
    return ReviewQueue.objects.create(
        project=run.project, run=run, plan={}, counts=fields.pop("counts", False), **fields
    )


def put(queue: ReviewQueue, path: ReasoningPath, probability: float | None = None) -> QueueItem:
    queue.size += 1
    return QueueItem.objects.create(
        queue=queue, path=path, question_id=path.question_id, position=queue.size, inclusion_probability=probability
    )


def judge_item(item: QueueItem, reviewer: User, label: str, *, blind: bool = True, phase: str = Phase.FIRST) -> Verdict:
    """A person's verdict as a queue writes it; a later one replaces theirs. `phase` undone: an unjudged one."""
    stream = {"path": item.path, "reviewer": reviewer, "counts": item.queue.counts}
    Verdict.objects.filter(**stream, current=True).update(current=False)
    verdict = make_verdict(item.path, reviewer=reviewer, label=label, counts=item.queue.counts)
    claim, _ = Claim.objects.get_or_create(
        item=item,
        reviewer=reviewer,
        defaults={
            "state": ClaimState.JUDGED,
            "slot": item.claims.count() + 1,
            "claimed_at": timezone.now(),
            "expires_at": timezone.now(),
        },
    )
    Judgment.objects.create(
        verdict=verdict, item=item, claim=claim, reviewer=reviewer, round=claim.judgments.count() + 1, phase=phase,
        blind=blind,
    )  # fmt: skip
    return verdict


def set_time(verdict: Verdict, moment: datetime) -> None:
    Verdict.objects.filter(pk=verdict.pk).update(created_at=moment)


def make_judged_ledger(
    *, questions: int = 8, reviewers: int = 2, name: str = "judged", seed: int = 1, people: Sequence[User] = ()
) -> Run:
    """A finished run whose nine paths a question were all judged, blind, by two of the people; four weeks of it."""
    rng = random.Random(seed)
    run = make_finished_run(questions, name=name)
    people = people or [make_user(first_name=f"Reviewer {n + 1}") for n in range(reviewers)]
    queue = make_queue(run, name=f"Calibration of {name}", overlap=2)
    start = timezone.now() - timedelta(weeks=4)
    judged = Verdict.objects.filter(run=run, path__origin="generated").select_related("path").order_by("path_id")
    for number, said in enumerate(judged):
        moment = start + timedelta(days=28 * number / (9 * questions))
        set_time(said, moment)
        wrong = 0.15 if said.label == Label.ERROR else 0.05  # of the judge's own labels
        truth = FLIP[Label(said.label)] if rng.random() < wrong else said.label
        item = put(queue, said.path, 0.1 if said.path.question_id % 2 else 0.2)
        for person in rng.sample(list(people), 2):
            label = FLIP[Label(truth)] if rng.random() < 0.06 else truth
            set_time(judge_item(item, person, label), moment + timedelta(days=2))
    return run
