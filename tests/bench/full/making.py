"""What a curator makes of everything at once: a run over all questions, queues of all paths; time and peak memory.

Each in a process of its own and rolled back at its end, so that the database stays as it was.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

from django.db import connection, transaction

from apps.pipeline.config import parse_config
from apps.pipeline.services import create_run
from apps.questions.access import default_project
from apps.reasoning.models import Run
from apps.review.queues.build import build_queue
from apps.review.queues.plans import SamplingPlan, parse_plan
from tests.bench.full.fill import RUN


class RolledBack(Exception):  # noqa: N818 - the end of a measurement, not an error
    pass


def measure_making() -> list[dict[str, Any]]:
    """[{name, s, mib, note}, …]; `mib` is the most memory that the process ever held, `base` included."""
    return [alone(name) for name in ("a new run", *QUEUES)]


def alone(name: str) -> dict[str, Any]:
    connection.close()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(name, theirs))
    process.start()
    theirs.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    return found


def _measure(name: str, answer: Any) -> None:
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    note = ""
    try:
        with transaction.atomic():
            note = make(name)
            seconds = time.perf_counter() - begun
            raise RolledBack
    except RolledBack:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send(
        {"name": name, "s": round(seconds, 1), "mib": peak // 1024, "note": f"{note}; {base // 1024} MiB before"}
    )


def make(name: str) -> str:
    if name == "a new run":
        run = create_run(project=default_project(), name="another", config=parse_config({}))
        return f"{run.questions.count():,} questions"
    full = Run.objects.get(name=RUN)
    queue = build_queue(run=full, name="measured", plan=QUEUES[name](full))
    return f"{queue.size:,} items"


def _paths(run: Run) -> int:
    return sum(run.counters.filter(key__startswith="labels:").values_list("value", flat=True))


QUEUES: dict[str, Callable[[Run], SamplingPlan]] = {
    "a queue of all paths": lambda run: SamplingPlan(size=_paths(run)),
    "a queue of 2,000 paths": lambda run: SamplingPlan(size=2_000),
    "2,000 paths by tier and label": lambda run: parse_plan(
        {"kind": "stratified", "by": ["tier", "label"], "size": 2_000}
    ),
    "200 questions by tier flip": lambda run: parse_plan({"kind": "tier_flip", "size": 200}),
    "contradictions": lambda run: parse_plan({"kind": "contradictions", "size": 1_000}),
}
