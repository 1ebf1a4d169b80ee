"""The review screen at work in a queue over all paths and in one of 2,000: take, save, keep, next, undo, and its lists."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.test import Client
from django.urls import reverse

from apps.reasoning.models import Run
from apps.review.models import Claim, ClaimState, ReviewQueue
from apps.review.queues.build import build_queue
from apps.review.queues.plans import SamplingPlan
from tests.bench.full.fill import RUN
from tests.bench.full.measure import Timing, client_of, timed

QUEUES = {"all paths": "Every path", "2,000 paths": "Two thousand paths"}
FRAGMENT = {"X-Fragment": "1"}


def make_queues(run: Run) -> None:
    """One over every path of the run, one of 2,000; they count. Left as they are where they are there.

    Like the fill without looking at foreign keys, which hold by the way a queue is drawn: millions at one commit.
    """
    for name, size in ((QUEUES["all paths"], 1_000_000_000), (QUEUES["2,000 paths"], 2_000)):
        if not ReviewQueue.objects.filter(name=name).exists():
            most = run.counters.filter(key__startswith="labels:")
            paths = sum(most.values_list("value", flat=True))
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                build_queue(run=run, name=name, plan=SamplingPlan(size=min(size, paths)))


def measure_review(requests: int, person: str = "tess") -> list[Timing]:
    run = Run.objects.get(name=RUN)
    make_queues(run)
    found = []
    for words, name in QUEUES.items():
        queue = ReviewQueue.objects.get(name=name)
        found += Sitting(client_of(person), queue, words).work_through(requests)
    return found + lists(run, client_of(person))


class Sitting:
    """One person going through a queue as the page's script does."""

    def __init__(self, client: Client, queue: ReviewQueue, words: str) -> None:
        self.client, self.queue, self.at_hand = client, queue, False
        earlier = Claim.objects.filter(reviewer__username="tess", finished_at__isnull=False)
        earlier.update(finished_at=F("finished_at") - timedelta(days=1))  # nobody judges that many in a row
        names = (
            "take: work",
            "ahead: the next item, while one judges",
            "save: judge",
            "keep, next at hand",
            "save + next at hand",
            "keep + next",
            "save + next, none at hand",
            "undo",
            "item after undo",
        )
        self.timings = {name: Timing(f"{words}: {name}") for name in names}
        self.warm = {name: Timing("warm") for name in names}
        self.address = reverse("review_work", args=(queue.pk,))

    def work_through(self, items: int) -> list[Timing]:
        for number in range(items + 5):
            self.one_item(self.warm if number < 5 else self.timings, undo=number % 5 == 4)
        for timing in self.timings.values():
            print(timing, file=sys.stderr)
        return list(self.timings.values())

    def one_item(self, timings: dict[str, Timing], *, undo: bool) -> None:
        timed(timings["take: work"], lambda: self.client.get(self.address))
        self.judge(timings)
        if undo:
            claim = self.claims(ClaimState.JUDGED).order_by("-finished_at")[0]
            address = reverse("review_undo", args=(claim.item_id,))
            key = {"idempotency_key": str(uuid4())}
            reply = timed(timings["undo"], lambda: self.client.post(address, key, headers=FRAGMENT), 302)
            timed(timings["item after undo"], lambda: self.client.get(reply["Location"]))
            self.judge(timings)

    def judge(self, timings: dict[str, Timing]) -> None:
        claim = self.claims(ClaimState.LIVE).order_by("claimed_at", "item__position")[0]
        item = claim.item_id
        ahead = timings["ahead: the next item, while one judges"]
        timed(ahead, lambda: self.client.get(f"{self.address}?after={item}", headers=FRAGMENT))
        label = "error" if item % 3 == 0 else "correct"
        form = {"label": label, "token": str(claim.token), "version": str(claim.version), "active_ms": "21000"}
        form |= {"idempotency_key": str(uuid4())} | ({"reasons": "wrong_fact"} if label == "error" else {})
        save, keep = (reverse(name, args=(item,)) for name in ("review_judge", "review_keep"))
        timed(timings["save: judge"], lambda: self.client.post(save, form, headers=FRAGMENT))
        self.at_hand = not self.at_hand
        if self.at_hand:  # as the page does: the next item is there already and has only to be shown
            timed(
                timings["keep, next at hand"], lambda: self.client.post(keep, {"has_next": "1"}, headers=FRAGMENT), 204
            )
            timings["save + next at hand"].add_latest(timings["save: judge"], timings["keep, next at hand"])
            return
        reply = timed(timings["keep + next"], lambda: self.client.post(keep, headers=FRAGMENT))
        if "X-Go-To" in reply:  # the sitting is over: no next item was shown
            timings["keep + next"].drop_last()
            return
        timings["save + next, none at hand"].add_latest(timings["save: judge"], timings["keep + next"])

    def claims(self, state: str) -> QuerySet[Claim]:
        return Claim.objects.filter(item__queue=self.queue, reviewer__username="tess", state=state)


def lists(run: Run, client: Client) -> list[Timing]:
    curator = client_of("carla")
    pages: list[tuple[str, Client, str]] = [
        ("home of a clinician", client, reverse("review_home")),
        ("home of a curator", curator, reverse("review_home")),
        ("end of a sitting", client, reverse("review_sitting")),
    ]
    return [repeat(name, lambda: who.get(address)) for name, who, address in pages]  # noqa: B023


def repeat(name: str, send: Callable[[], Any], times: int = 30) -> Timing:
    timing, begun = Timing(name), time.perf_counter()
    timed(Timing("warm"), send)
    for _ in range(times):
        timed(timing, send)
        if time.perf_counter() - begun > 20:
            break
    return timing
