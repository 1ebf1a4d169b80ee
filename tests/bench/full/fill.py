"""A finished run of any size, written by INSERT … SELECT: every row that a real run leaves, in minutes.

Published counts of questions by benchmark (scaled down where fewer are asked for); errors a question drawn so that
73.7 % of the paths are Correct. Two reviewers judged 2,000 paths each (fewer in a small fill) in a queue that measures,
contradict the judge together on some paths, alone on others, and disagree on a few. What follows from all that is
worked out here in SQL and has to satisfy `check_ledger`.

Left out: reservations, batches, model servers, comments, decisions about records, failed attempts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from apps.pipeline.config import default_config, parse_config
from apps.pipeline.lanes import lanes_of
from apps.pipeline.models import Endpoint, PromptVersion, RunBudget
from apps.pipeline.prompts import load_prompts
from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR, default_project
from apps.questions.published import TABLE
from apps.reasoning.models import Run, RunState
from apps.review.models import ReviewQueue
from apps.review.queues.plans import SamplingPlan
from tests.bench.full.texts import POOL, pools
from tests.factories import QUICK_HASH

log = logging.getLogger(__name__)
SCRIPT = Path(__file__).with_name("fill.sql")
RUN = "full"
PEOPLE = {"anna": CLINICIAN, "ben": CLINICIAN, "tess": CLINICIAN, "carla": CURATOR, "adam": ADJUDICATOR}
ERRORS = (0.40, 0.15, 0.10, 0.07, 0.055, 0.045, 0.045, 0.04, 0.04, 0.055)  # share of questions with 0 … 9 wrong paths
JUDGED = 2_000  # paths in the queue that measures


def fill(questions: int) -> Run:
    """Fill the database at hand, which has been migrated and is empty. Only one run is in it."""
    people = {name: _person(name, role) for name, role in PEOPLE.items()}
    run = _run(people["carla"])
    queue = _queue(run, min(JUDGED, questions * 2))
    values: dict[str, Any] = {
        "run": run.pk,
        "project": run.project_id,
        "queue": queue.pk,
        "judged": queue.size,
        "n": questions,
        "anna": people["anna"].pk,
        "ben": people["ben"].pk,
        "pool": POOL,
        "seed": str(run.config["seed"]),
        "lanes": lanes_of(parse_config(run.config)),
        "cumulative": [round(sum(ERRORS[:k]), 4) for k in range(1, len(ERRORS) + 1)],
        "prompts": [run.config["prompts"][name] for name in ("generate", "verify", "rank", "refine", "regenerate", "summarise")],
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # foreign keys hold by the way rows are made
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET work_mem = '256MB'")
        _load_pools(cursor)
        _load_splits(cursor, questions)
        for title, statement in _statements():
            begun = time.perf_counter()
            cursor.execute(statement, values)
            log.info("%-60s %6.1f s", title, time.perf_counter() - begun)
        cursor.execute("RESET session_replication_role")
        cursor.execute("RESET synchronous_commit")
        cursor.execute("RESET work_mem")
        begun = time.perf_counter()
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("CHECKPOINT")
        log.info("%-60s %6.1f s", "vacuum, analyze", time.perf_counter() - begun)
    return run


def _statements() -> Iterator[tuple[str, str]]:
    """(title, SQL) of each part of fill.sql: parts begin with `-- @ title`."""
    for part in SCRIPT.read_text(encoding="utf-8").split("-- @ ")[1:]:
        title, _, statement = part.partition("\n")
        yield title, statement


def _load_pools(cursor: Any) -> None:
    cursor.execute("CREATE TEMP TABLE pool (kind text, n int, body text, PRIMARY KEY (kind, n))")
    with cursor.copy("COPY pool FROM STDIN") as copy:
        for row in pools():
            copy.write_row(row)
    cursor.execute("ANALYZE pool")


def _load_splits(cursor: Any, questions: int) -> None:
    """Which numbers of questions belong to which row of the published table; the first row takes what rounding leaves."""
    rows = [row for row in TABLE if row.published]
    total = sum(row.published for row in rows)
    counts = [max(row.published * questions // total, 1) for row in rows]
    counts[0] += questions - sum(counts)
    cursor.execute("CREATE TEMP TABLE split (slug text, split text, subject text, first int, last int)")
    first = 1
    with cursor.copy("COPY split FROM STDIN") as copy:
        for row, count in zip(rows, counts, strict=True):
            copy.write_row((row.benchmark, row.split, row.subject, first, first + count - 1))
            first += count


def _person(name: str, role: str) -> User:
    user = User.objects.create(username=name, password=QUICK_HASH, first_name=name.capitalize())
    user.groups.add(Group.objects.get(name=role))
    default_project().members.add(user)
    return user


def _run(by: User) -> Run:
    prompts = load_prompts()
    for prompt in prompts.values():
        PromptVersion.objects.create(sha256=prompt.sha256, name=prompt.name, text=prompt.text)
    data = default_config()
    for endpoint in data["endpoints"]:
        if endpoint["name"] == "writer":
            endpoint |= {"price_in": "0.15", "price_out": "0.60"}
    config = parse_config(
        data | {"label_policy": "two", "prompts": {name: prompt.sha256 for name, prompt in prompts.items()}}
    )
    run = Run.objects.create(
        project=default_project(), name=RUN, state=RunState.FINISHED, config=config.model_dump(mode="json"),
        config_hash=config.digest(), created_by=by, started_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    RunBudget.objects.create(run=run)
    for one in config.endpoints:
        Endpoint.objects.create(
            project=run.project, name=one.name, model=one.model, base_url=one.base_url, terms=one.terms, simulated=True
        )
    return run


def _queue(run: Run, size: int) -> ReviewQueue:
    return ReviewQueue.objects.create(
        project=run.project, run=run, name="Calibration", plan=SamplingPlan(size=size).model_dump(mode="json"), overlap=2,
        counts=False, role=CLINICIAN, size=size,
    )  # fmt: skip


@contextmanager
def said() -> Iterator[None]:
    """The steps of a fill with their times on standard error."""
    handler = logging.StreamHandler()
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
