"""From the lines of a batch's files to the ledger: each request is settled once, in the transaction that marks it done."""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from django.db import transaction

from apps.pipeline.material import load_material
from apps.pipeline.models import BatchJob, BatchRequest, Task
from apps.pipeline.outputs import RejectedError
from apps.pipeline.protocol import NOT_ITS_FAULT, ModelError, Reply, Request
from apps.pipeline.stages.base import Material
from apps.pipeline.store import Batch, Finished, flush
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.policy.assess import Item, assess
from workers.attempts import PATIENCE, Attempt, Result, accept_reply, book, give_up
from workers.backends import replies
from workers.batch.jobs import hold, replay, stored_request
from workers.leases import Leased, worker_name
from workers.planning import Planner, RunContext, Unit

log = logging.getLogger(__name__)
MAX_LINE = 8 * 1024 * 1024  # bytes; a longer line is ignored
CHUNK = 300  # lines a transaction


@dataclass(frozen=True, slots=True)
class Line:
    """What came of the request with this custom_id: a reply, or the error that stands for it."""

    custom_id: str
    outcome: Reply | ModelError


@dataclass(slots=True)
class Taken:
    """What was found in the files."""

    settled: int = 0
    ignored: int = 0  # lines of nobody's, lines a second time, lines that cannot be read
    seen: set[str] = field(default_factory=set)

    @property
    def words(self) -> str:
        return f"{self.ignored} unreadable, foreign or repeated lines were ignored" if self.ignored else ""


def read_lines(file: IO[bytes], secret: str) -> Iterator[Line | None]:
    """None for a line that cannot be read."""
    while raw := file.readline(MAX_LINE + 1):
        if len(raw) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            yield None
        elif raw.strip():
            yield read_line(raw, secret)


def read_line(raw: bytes, secret: str = "") -> Line | None:
    data = replies.parse(raw)
    if not isinstance(data, dict):
        return None
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 200:
        return None
    return Line(custom_id, _outcome(data.get("response"), data.get("error"), secret))


def _outcome(response: Any, error: Any, secret: str) -> Reply | ModelError:
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            try:
                return replies.reply_in(body, secret=secret)
            except ModelError as unreadable:
                return unreadable
        if isinstance(status, int) and 400 <= status < 600:
            return replies.error_in(status, {}, body, secret=secret)
    if isinstance(error, dict):
        words = ": ".join(
            filter(None, (replies.short(error.get("code"), 60), replies.short(error.get("message"), 400)))
        )
        return ModelError("server", words or "the provider did not carry it out")
    return ModelError("server", "the line has neither a response nor an error", status=200)


def lost(*, paid: bool) -> ModelError:
    """The outcome of a request that no file tells of; `paid`: the provider counts more replies than it gave."""
    if paid:
        return ModelError("server", "the provider counts it as done and gave no reply", sent=True)
    return ModelError("server", "the batch ended before it was carried out")


class Taker:
    """Settles one batch's requests; one for each time that its files are read."""

    def __init__(self, planner: Planner, job: BatchJob, own: uuid.UUID) -> None:
        self.planner = planner
        self.job = job
        self.own = own
        self.found = Taken()

    def take(self, lines: Sequence[Line | None]) -> None:
        """Lines of the files, in any order; what is done already is left as it is."""
        mine: dict[str, Line] = {}
        for line in lines:
            if line is None or line.custom_id in self.found.seen:
                self.found.ignored += 1
            else:
                self.found.seen.add(line.custom_id)
                mine[line.custom_id] = line
        known = set(BatchRequest.objects.filter(job=self.job, custom_id__in=mine).values_list("custom_id", flat=True))
        self.found.ignored += len(mine) - len(known)
        self._settle({custom_id: mine[custom_id].outcome for custom_id in known})

    def take_rest(self, outcome: ModelError) -> bool:
        """A chunk of the requests that nothing was heard of; False when there is none."""
        rest = BatchRequest.objects.filter(job=self.job, done=False).order_by("pk")
        ids = list(rest.values_list("custom_id", flat=True)[:CHUNK])
        self._settle(dict.fromkeys(ids, outcome))
        return bool(ids)

    @transaction.atomic
    def _settle(self, outcomes: dict[str, Reply | ModelError]) -> None:
        hold(self.own)
        rows = list(
            BatchRequest.objects.select_for_update()
            .filter(job=self.job, custom_id__in=outcomes, done=False)
            .order_by("pk")
        )
        if not rows:
            return
        context = self.planner.context(self.job.run_id)
        endpoint = context.config.endpoint(self.planner.lane.partition("@")[2])
        stored = [(row, *stored_request(row, endpoint)) for row in rows]
        material = _materials(context, [(row.question_id, item) for row, item, _, _ in stored])
        batch = Batch(context.run)
        unfinished: set[int] = set()
        for row, item, request, kinds in stored:
            lease = Leased(row.task, context.run.pk, row.question_id, row.seen, kinds_of(kinds, NOT_ITS_FAULT))
            unit = Unit(context, lease, [item], material[row.question_id])
            result = self._result(unit, item, request, row, kinds, outcomes[row.custom_id])
            batch.calls += result.calls
            if result.output is not None:
                batch.outputs.append((result.output, result.calls[-1].id))
            if result.failure is not None:
                batch.failures.append(result.failure)
            if result.output is None and result.failure is None:
                unfinished.add(row.task)
        BatchRequest.objects.filter(pk__in=[row.pk for row in rows]).update(done=True)
        BatchRequest.objects.filter(job=self.job, task__in=unfinished).update(seen=0)
        batch.finished = self._finished({row.task for row in rows})
        flush(batch, lane=self.job.lane, lease=self.job.lease, worker=worker_name())
        self.found.settled += len(rows)

    def _result(
        self, unit: Unit, item: Item, request: Request, row: BatchRequest, kinds: list[str], outcome: Reply | ModelError
    ) -> Result:
        """As `workers.attempts.settle_item` decides, with the next attempt in another batch."""
        result, config = Result(unit), unit.context.config
        sent_at = self.job.submitted_at or self.job.created_at
        began = time.monotonic() - max(0.0, (datetime.now(UTC) - sent_at).total_seconds())
        attempt = Attempt(request, row.attempt, sent_at, row.call, not request.endpoint.free, began)
        tries, _ = replay(request, kinds, config.schema_retries)
        reply = outcome if isinstance(outcome, Reply) else None
        try:
            if isinstance(outcome, ModelError):
                raise outcome
            last = tries.rejections >= config.schema_retries
            result.output = _accepted(unit, item, request, outcome, last=last)
            result.calls.append(book(unit, item, attempt, reply, "ok"))
        except (RejectedError, ModelError) as error:
            kind = error.error_class
            again = tries.again(kind, config.schema_retries)
            if kind in NOT_ITS_FAULT:
                again = unit.lease.attempts + 1 < PATIENCE
            result.calls.append(book(unit, item, attempt, reply, "retried" if again else "failed", error))
            if not again:
                unit.lease = Leased(unit.lease.task, unit.lease.run, unit.lease.question, unit.lease.seen, PATIENCE)
                give_up(result, item, kind, error.message)
        result.calls[-1].latency_ms = 0  # hours in a queue say nothing about the model
        return result

    def _finished(self, tasks: set[int]) -> list[Finished]:
        """Tasks whose requests are all done now. `seen` 0 makes a task ready again: something of it is left to do."""
        state: dict[int, tuple[bool, int]] = {}
        for task, seen, done in BatchRequest.objects.filter(job=self.job, task__in=tasks).values_list(
            "task", "seen", "done"
        ):
            was_done, was_seen = state.get(task, (True, seen))
            state[task] = (was_done and done, min(was_seen, seen))
        return [Finished(task, seen) for task, (done, seen) in sorted(state.items()) if done]


def refused_before(job: BatchJob) -> int:
    """How often in a row the tasks of this batch came back from a provider that would not take their file."""
    tasks = BatchRequest.objects.filter(job=job).values("task")
    return max(Task.objects.filter(pk__in=tasks).values_list("attempts", flat=True), default=0)


def kinds_of(kinds: Iterable[str], wanted: Iterable[str]) -> int:
    return sum(kind in wanted for kind in kinds)


def _accepted(unit: Unit, item: Item, request: Request, reply: Reply, *, last: bool) -> Any:
    """Raises RejectedError, and ModelError for a reply to a question that has changed past recognition meanwhile."""
    try:
        return accept_reply(unit, item, request, reply, last=last)
    except RejectedError:
        raise
    except Exception as error:
        log.warning("a batch's reply for question %s cannot be used", unit.lease.question, exc_info=True)
        words = f"the reply cannot be used any more: {type(error).__name__}"
        raise ModelError("refused", words, status=200, reply=reply) from error


def _materials(context: RunContext, wanted: Sequence[tuple[int, Item]]) -> dict[int, Material]:
    items: dict[int, list[Item]] = defaultdict(list)
    for question, item in wanted:
        items[question].append(item)
    facts = load_facts(context.run, list(items))
    policy = policy_of(context.run)
    found = {pk: assess(f, policy) for pk, f in facts.items()}
    return load_material(context.run, facts, found, items)
