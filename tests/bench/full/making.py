"""What a curator makes of everything at once: a run over all questions, queues of all paths; time and peak memory.

Each in a process of its own and rolled back at its end, so that the database stays as it was.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import Prefetch

from apps.pipeline.config import parse_config
from apps.pipeline.path_import import import_paths
from apps.pipeline.services import create_run
from apps.questions.access import default_project
from apps.questions.fingerprints import fingerprint, stem_fingerprint
from apps.questions.models import Question
from apps.reasoning.models import Origin, ReasoningPath, Run
from apps.review.queues.build import build_queue
from apps.review.queues.plans import SamplingPlan, parse_plan
from tests.bench.full.fill import RUN
from tests.bench.full.measure import on_cpu

IMPORT = "an import of paths"
IMPORTED = 2_000  # questions


class RolledBack(Exception):  # noqa: N818 - the end of a measurement, not an error
    pass


def measure_making() -> list[dict[str, Any]]:
    """[{name, s, mib, note}, …]; `mib` is the most memory that the process ever held, `base` included."""
    return [alone(name) for name in ("a new run", IMPORT, *QUEUES)]


def alone(name: str) -> dict[str, Any]:
    connection.close()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(name, theirs))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = mine.recv()
    except EOFError:
        raise AssertionError(f"{name}: the process ended without an answer") from None
    process.join()
    return found


def _measure(name: str, answer: Any) -> None:
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    note = ""
    try:
        with transaction.atomic(), tempfile.TemporaryDirectory() as folder:
            if name == IMPORT:
                source = write_paths(Path(folder) / "paths.jsonl")
                begun = time.perf_counter()
                note = bring_in(source)
            else:
                note = make(name)
            with connection.cursor() as cursor:  # foreign keys are looked at now, not at a commit that never comes
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
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


def bring_in(source: Path) -> str:
    begun, worked = time.perf_counter(), on_cpu()
    names, temperatures = ("a", "b", "c"), (0.7, 0.9, 1.0)
    found = import_paths(
        path=source, project=default_project(), name="brought in", generators=names, temperatures=temperatures
    )
    rate, cpu = found.paths / (time.perf_counter() - begun), 1000 * (on_cpu() - worked) / found.paths
    size = source.stat().st_size / 1024**2
    return f"{found.paths:,} paths of {size:.0f} MiB, {rate:,.0f} a second and {cpu:.2f} ms of CPU each before foreign keys"


def write_paths(target: Path) -> Path:
    """The run's first questions with their paths in the interchange form. The fill has no real fingerprints."""
    first = Question.objects.order_by("pk").values_list("pk", flat=True)[:IMPORTED]
    nine = Prefetch("paths", ReasoningPath.objects.filter(origin=Origin.GENERATED).order_by("pk"), to_attr="nine")
    with target.open("w") as file:
        for some in batched(list(first), 100):
            questions = list(Question.objects.filter(pk__in=some).order_by("pk").prefetch_related(nine))
            for question in questions:
                question.fingerprint = fingerprint(question.stem, question.options, question.contexts)
                question.stem_fingerprint = stem_fingerprint(question.stem)
                file.write(json.dumps(_interchange(question)) + "\n")
            Question.objects.bulk_update(questions, ["fingerprint", "stem_fingerprint"])
    return target


def _interchange(question: Any) -> dict[str, Any]:
    row = {"question": question.stem, "options": question.options, "answer": question.options[question.key]}
    return row | {f"model{n // 3 + 1}_COT{n % 3 + 1}": path.raw for n, path in enumerate(question.nine)}


def batched(values: list[int], size: int) -> Iterator[list[int]]:
    for at in range(0, len(values), size):
        yield values[at : at + size]


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
