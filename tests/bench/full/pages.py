"""Pages that read, with filters, search and deep paging, and the override: addresses spread over the whole run."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlencode
from uuid import uuid4

from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from apps.questions.access import CLINICIAN
from apps.reasoning.models import Label, PathLabel, ReasoningPath, Run, RunQuestion, Selection
from apps.review.kept import BESIDE
from apps.review.models import ReviewQueue
from tests.bench.full.fill import RUN
from tests.bench.full.measure import WARM, Timing, client_of, measure_page, timed
from tests.bench.full.review import QUEUES, make_queues


def measure_pages(only: str, requests: int) -> list[Timing]:
    """A line a page; `only`: those whose name holds it."""
    run, rng = Run.objects.get(name=RUN), random.Random(5)
    client = client_of("carla")
    make_queues(run)
    found = [
        measure_page(name, client, addresses) for name, addresses in pages(run, rng, WARM + requests) if only in name
    ]
    who = {"adam": client_of("adam"), "carla": client}
    found += [
        measure_page(name, who[person], addresses)
        for name, person, addresses in people_s_pages(run, WARM + requests)
        if only in name
    ]
    if only in NOTHING_KEPT:
        found.append(measure_page(NOTHING_KEPT, client, anew(reverse("agreement"), WARM + requests)))
    if only in "override: save":
        found.append(measure_override(run, client_of("tess"), requests))
    return found


def pages(run: Run, rng: random.Random, times: int) -> Iterator[tuple[str, Iterator[str]]]:
    questions = RunQuestion.objects.filter(run=run)
    last = questions.order_by("-question_id").values_list("question_id", flat=True)[0]
    drawn = [rng.randint(1, last) for _ in range(times)]
    uids = dict(questions.filter(question__in=drawn).values_list("question", "question__uid"))
    kept = dict(Selection.objects.filter(run=run, question__in=drawn, slot=1).values_list("question", "path"))
    listed, paths = reverse("questions"), reverse("paths")

    def each(make: Callable[[int], str]) -> Iterator[str]:
        return iter([make(number) for number in drawn])

    def same(address: str) -> Iterator[str]:
        return iter([address] * times)

    yield "overview", same(reverse("overview"))
    yield "run", same(reverse("run", args=(run.pk,)))
    yield "runs", same(reverse("runs"))
    for name, query in QUESTION_FILTERS.items():
        yield f"questions: {name}", same(f"{listed}?{query}")
    for name, query in DEEP_QUESTIONS.items():
        yield f"questions: {name}", each(lambda n, q=query: f"{listed}?{q}after={n}")  # type: ignore[misc]
    for name, query in PATH_FILTERS.items():
        yield f"paths: {name}", same(f"{paths}?{query}")
    for name, query in DEEP_PATHS.items():
        yield f"paths: {name}", each(lambda n, q=query: f"{paths}?{q}after={n * 9}")  # type: ignore[misc]
    yield "question", each(lambda n: reverse("run_question", args=(run.pk, uids[n])))
    yield "record", iter([reverse("record", args=(run.pk, uids[n], 1)) for n in drawn if n in kept])
    yield "history of a question", each(lambda n: reverse("question_history", args=(run.pk, uids[n])))
    yield "compare", each(lambda n: reverse("compare", args=(run.pk, uids[n])) + f"?a={n * 9 - 3}&b={n * 9 - 7}")
    yield "override: preview", each(lambda n: reverse("override", args=(run.pk, n * 9 - 3)))
    yield "stale", same(reverse("stale", args=(run.pk,)))
    yield "failures", same(reverse("failures", args=(run.pk,)))
    yield "budget", same(reverse("run_budget", args=(run.pk,)))
    yield "agreement", same(reverse("agreement"))
    yield "exports", same(reverse("exports"))
    yield "new export", same(reverse("export_new"))
    yield "composition", same(reverse("composition"))
    yield "key conflicts", same(reverse("key_conflicts"))
    yield "held out", same(reverse("held_out"))
    yield "mentions", same(reverse("mentions"))


def people_s_pages(run: Run, times: int) -> Iterator[tuple[str, str, Iterator[str]]]:
    """(name, who asks, addresses) of adjudication and of making and following queues."""

    def same(address: str) -> Iterator[str]:
        return iter([address] * times)

    disputed = PathLabel.objects.filter(run=run, disputed=True).order_by("path_id").values_list("path_id", flat=True)
    both = list(disputed[:times])
    yield "adjudication: what waits", "adam", same(reverse("settle"))
    yield "adjudication: a disagreement", "adam", iter([reverse("settle_path", args=(run.pk, path)) for path in both])
    yield "adjudication: flags", "adam", same(reverse("settle_flags"))
    yield "curation: queues", "carla", same(reverse("review_queues"))
    for words, name in QUEUES.items():
        queue = ReviewQueue.objects.get(name=name)
        yield f"curation: progress of {words}", "carla", same(reverse("review_queue", args=(queue.pk,)))
    yield "curation: new queue", "carla", same(reverse("review_queue_new"))
    for name, query in PLANS.items():
        yield f"curation: preview, {name}", "carla", same(f"{reverse('review_queue_new')}?{SETTINGS}&{query}")


NOTHING_KEPT = "agreement, nothing kept"
SETTINGS = urlencode(
    {"run": RUN, "seed": 7, "overlap": 1, "gold_percent": 0, "view": "blind", "effect": "counts", "role": CLINICIAN}
    | {"allocation": "equal", "sensitivity": 0.9, "specificity": 0.95}
)
PLANS = {
    "random": "kind=random&size=200",
    "by tier and label": "kind=stratified&by=tier&by=label&size=2000",
    "tier flip": "kind=tier_flip&size=200",
    "contradictions": "kind=contradictions&size=1000",
}
QUESTION_FILTERS = {
    "first page": "",
    "tier": "tier=medium",
    "errors 5–7": "errors=5-7",
    "benchmark": "benchmark=medqa",
    "small benchmark": "benchmark=mmlu",
    "small benchmark and tier": "benchmark=mmlu&tier=difficult",
    "split": "split=val",
    "subject": "subject=Surgery",
    "subject of few": "subject=anatomy",
    "waiting": "state=waiting",
    "one reason": "state=waiting:unjudged",
    "contradiction": "contradiction=1",
    "overridden": "overridden=1",
    "disputed": "disputed=1",
    "all Error": "pattern=EEEEEEEEE",
    "pattern with wildcards": "pattern=CC*EE",
    "rare pattern": "pattern=EEEE?CE?E",
    "search, common word": "q=patient",
    "search, middling word": "q=sarcoidosis",
    "search, two words": "q=amyloidosis+phaeochromocytoma",
    "search, nothing found": "q=zzyzx",
    "search and tier": "q=sarcoidosis&tier=difficult",
    "search, no run": "run=none&q=sarcoidosis",
    "no run": "run=none",
}
DEEP_QUESTIONS = {
    "deep": "",
    "deep, tier": "tier=difficult&",
    "deep, subject": "subject=Surgery&",
    "deep, search": "q=thyroid&",
}
PATH_FILTERS = {
    "first page": "",
    "label": "label=error",
    "generator": "generator=huatuogpt-o1-70b",
    "temperature": "temperature=0.9",
    "generator, temperature, label": "generator=r1-distill-70b&temperature=1.0&label=error",
    "refined": "origin=refined",
    "regenerated": "origin=regenerated",
    "answer is not the key": "off_key=1",
    "answer is not the key, Correct": "off_key=1&label=correct",
    "no answer": "no_answer=1",
    "cut off": "truncated=1",
    "overridden": "overridden=1",
    "disputed": "disputed=1",
    "contradiction": "contradiction=1",
    "unjudged": "label=unjudged",
    "unjudged of one generator": "label=unjudged&generator=qwen2.5-72b",
    "refined and Error (none)": "origin=refined&label=error",
    "search, common word": "reason=patient",
    "search, middling word": "reason=sarcoidosis",
    "search, two words": "reason=amyloidosis+phaeochromocytoma",
    "search, nothing found": "reason=zzyzx",
    "search and label": "reason=sarcoidosis&label=error",
}
DEEP_PATHS = {
    "deep": "",
    "deep, label": "label=error&",
    "deep, generator": "generator=qwen2.5-72b&",
    "deep, search": "reason=thyroid&",
}


def anew(address: str, times: int) -> Iterator[str]:
    """The same address, with nothing kept from the request before; what that one set going beside itself has ended."""
    for _ in range(times):
        for thread in threading.enumerate():
            if thread.name == BESIDE:
                thread.join()
        cache.clear()
        yield address


def measure_override(run: Run, client: Client, times: int) -> Timing:
    """A second reviewer agrees with one who contradicts the judge: label, tier and records follow from the save."""
    timing = Timing("override: save")
    alone = PathLabel.objects.filter(
        run=run, overridden=False, disputed=False, path__verdicts__source="person", path__verdicts__counts=True
    ).exclude(path__verdicts__reviewer__username="tess")  # fmt: skip
    every = list(alone.order_by("path_id").values_list("path_id", "judge_label").distinct())
    step = max(len(every) // (times + WARM), 1)
    for number, (path_id, label) in enumerate(every[::step][: times + WARM]):
        path = ReasoningPath.objects.only("question_id").get(pk=path_id)
        version = RunQuestion.objects.get(run=run, question=path.question_id).version
        other = Label.ERROR if label == Label.CORRECT else Label.CORRECT
        form = {"label": other, "correctness": "pass" if other == Label.CORRECT else "fail", "coherence": "pass"}
        form |= {"factuality": "pass", "reason": "I read it again.", "version": str(version)}
        form["idempotency_key"] = str(uuid4())
        address = reverse("override", args=(run.pk, path_id))
        timed(timing if number >= WARM else Timing("warm"), lambda: client.post(address, form), 302)  # noqa: B023
    return timing
