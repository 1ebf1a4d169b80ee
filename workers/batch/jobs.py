"""Batches in the ledger: filled from ready tasks, sent, split, given back, done. Each step is one transaction.

Whoever writes holds the lane's batch slot (`own`); the batch's own lease keeps the tasks, whoever looks after it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import IO

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from apps.pipeline.budget import reserve
from apps.pipeline.config import EndpointConfig
from apps.pipeline.models import (
    BatchJob,
    BatchRequest,
    BatchState,
    Call,
    CallStatus,
    Failure,
    PumpLease,
    Reservation,
    RunBudget,
    Task,
)
from apps.pipeline.protocol import Request
from apps.pipeline.stages import BY_NAME
from apps.pipeline.store import Batch, Finished, flush
from apps.reasoning.policy.assess import Item
from workers.attempts import OVER_BUDGET, Attempt, Tries
from workers.backends.bodies import chat_body
from workers.batch.provider import View
from workers.batch.wake import OPEN
from workers.leases import release_pump
from workers.planning import Planner, Unit
from workers.purse import wanted_for

FILE_BYTES = 150_000_000  # a file is full at this size; providers take 200 MB
CHUNK = 50  # tasks a transaction
FIRST_SLOT = 100  # of the batches' leases
HELD_FOR = timedelta(days=1000)  # a batch is never given up for its age: what it did was paid
RETRY_S = 60.0  # before tasks that did not fit the budget are looked at again


class LeaseLostError(RuntimeError):
    """Another looks after the lane's batches now."""


@dataclass(slots=True)
class Entry:
    """A request about to be written into a batch. `kinds`: what went wrong with the attempts before, oldest first."""

    unit: Unit
    item: Item
    attempt: Attempt
    kinds: list[str]


def open_jobs(lane: str) -> list[BatchJob]:
    return list(BatchJob.objects.filter(lane=lane, state__in=OPEN).select_related("run").order_by("created_at"))


def hold(own: uuid.UUID) -> None:
    """For the rest of the transaction. Raises LeaseLostError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pipeline_pumplease WHERE id = %s AND expires_at > now() FOR SHARE", [own])
        if cursor.fetchone() is None:
            raise LeaseLostError


def fill_job(planner: Planner, run_id: int, own: uuid.UUID) -> BatchJob | None:
    """A batch of the run's ready tasks, as large as the provider takes; None when nothing is to be sent.

    A file holds whole questions, at least one. Killed on the way, what is written so far is a batch too.
    """
    endpoint = planner.context(run_id).config.endpoint(planner.lane.partition("@")[2])
    job, size, more = None, 0, True
    while more and size < FILE_BYTES:
        job, written, more = _fill(planner, run_id, own, job, endpoint)
        size += written
    return job


@transaction.atomic
def _fill(
    planner: Planner, run_id: int, own: uuid.UUID, job: BatchJob | None, endpoint: EndpointConfig
) -> tuple[BatchJob | None, int, bool]:
    """The batch with a chunk more, the bytes written, and whether there may be more to write."""
    hold(own)
    context = planner.context(run_id)
    room = endpoint.batch_requests - (job.requests if job else 0)
    tasks = min(CHUNK, room // max(context.config.paths_per_question, context.config.keep))
    if not tasks and job:
        return job, 0, False
    if not endpoint.free:
        RunBudget.objects.select_for_update().get(pk=run_id)  # before the tasks, as in `store.flush`
    mine = job or _open(planner.lane, run_id)
    units = planner.lease_units(mine.lease, max(tasks, 1), batch_of=run_id)
    entries = _entries(units, planner.lane.partition("@")[0])
    granted = _reserve(entries, mine.lease)
    written = _write(mine, units, granted)
    short = len(granted) < len(entries)
    if mine.requests == 0:
        _close(mine)
    return mine if mine.requests else None, written, bool(units) and not short


def _open(lane: str, run_id: int) -> BatchJob:
    last = PumpLease.objects.filter(lane=lane, slot__gte=FIRST_SLOT).aggregate(m=Max("slot"))["m"]
    job = BatchJob(run_id=run_id, lane=lane, lease=uuid.uuid4())
    now = timezone.now()
    slot = FIRST_SLOT if last is None else last + 1
    PumpLease.objects.create(
        id=job.lease, lane=lane, slot=slot, owner=f"batch:{job.id}", started_at=now, expires_at=now + HELD_FOR
    )
    job.save()
    return job


def _close(job: BatchJob) -> None:
    """A batch that came to nothing, in the transaction that opened it."""
    release_pump(job.lease)
    job.delete()


def _entries(units: Sequence[Unit], stage: str) -> list[Entry]:
    if not units:
        return []
    before, numbers = _history(units, stage)
    entries = []
    for unit in units:
        for item in unit.items:
            key = (unit.lease.question, item.key)
            config = unit.context.config
            request = BY_NAME[item.stage].build(config, unit.context.prompts, item, unit.require_material())
            _, request = replay(request, before[key], config.schema_retries)
            entries.append(Entry(unit, item, Attempt(request, numbers[key] + 1), before[key]))
    return entries


def replay(request: Request, kinds: Iterable[str], schema_retries: int) -> tuple[Tries, Request]:
    """What attempts in earlier batches count for, and the request as they left it."""
    tries = Tries()
    for kind in kinds:
        tries.again(kind, schema_retries)
        request = tries.next_request(request, kind)
    return tries, request


def _history(units: Sequence[Unit], stage: str) -> tuple[dict[tuple[int, str], list[str]], dict[tuple[int, str], int]]:
    """By question and item: what went wrong since the last success or the last time a person had it tried again, and
    how many attempts there were."""
    run_id, questions = units[0].context.run.pk, [u.lease.question for u in units]
    mine = {"run_id": run_id, "question_id__in": questions, "stage": stage}
    resolved = {
        (failure.question_id, failure.item): failure.resolved_at
        for failure in Failure.objects.filter(**mine, resolved_at__isnull=False).order_by("resolved_at")
    }
    kinds: dict[tuple[int, str], list[str]] = defaultdict(list)
    numbers: Counter[tuple[int, str]] = Counter()
    calls = Call.objects.filter(**mine).order_by("created_at", "attempt")
    for question, item, status, kind, at in calls.values_list(
        "question_id", "item", "status", "error_class", "created_at"
    ):
        key = (question, item)
        numbers[key] += 1
        if status == CallStatus.OK:
            kinds[key].clear()
        elif (tried_again := resolved.get(key)) is None or at > tried_again:
            kinds[key].append(kind)
    return kinds, numbers


def _reserve(entries: Sequence[Entry], lease: uuid.UUID) -> list[Entry]:
    """Those whose money could be set aside."""
    priced = [e for e in entries if not e.attempt.request.endpoint.free]
    granted = reserve([wanted_for(e.unit, e.item, e.attempt, lease) for e in priced]) if priced else set()
    for entry in priced:
        entry.attempt.reserved = entry.attempt.id in granted
    return [e for e in entries if e.attempt.reserved or e.attempt.request.endpoint.free]


def _write(job: BatchJob, units: Sequence[Unit], entries: Sequence[Entry]) -> int:
    """Rows of the requests; tasks of which nothing is sent go back. Returns the bytes of the bodies."""
    sent = Counter(e.unit.lease.task for e in entries)
    rows, size = [], 0
    for entry in entries:
        body = _stored(entry)
        size += len(json.dumps(body["body"]))
        lease = entry.unit.lease
        whole = sent[lease.task] == len(entry.unit.items)
        rows.append(
            BatchRequest(
                job=job,
                custom_id=f"{lease.run}:{lease.question}:{entry.item.stage}:{entry.item.key}:{entry.attempt.number}",
                call=entry.attempt.id,
                task=lease.task,
                seen=lease.seen if whole else 0,  # 0: something was left out, so the task is ready again afterwards
                question_id=lease.question,
                stage=entry.item.stage,
                item=entry.item.key,
                attempt=entry.attempt.number,
                body=body,
            )
        )
    BatchRequest.objects.bulk_create(rows, batch_size=500)
    job.requests += len(rows)
    BatchJob.objects.filter(pk=job.pk).update(requests=job.requests)
    back = [
        Finished(u.lease.task, u.lease.seen, RETRY_S, OVER_BUDGET, patient=True)
        if u.items
        else Finished(u.lease.task, u.lease.seen)
        for u in units
        if not sent[u.lease.task]
    ]
    if back:
        flush(Batch(units[0].context.run, finished=back), lane=job.lane, lease=job.lease)
    return size


def _stored(entry: Entry) -> dict[str, object]:
    request = entry.attempt.request
    return {
        "body": chat_body(request),
        "item": asdict(entry.item),
        "kinds": entry.kinds,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }


def stored_request(row: BatchRequest, endpoint: EndpointConfig) -> tuple[Item, Request, list[str]]:
    """The item, the request and what went wrong before, as they were when the batch was filled."""
    stored = row.body
    form = stored["body"].get("response_format")
    request = Request(
        endpoint=endpoint,
        messages=stored["body"]["messages"],
        max_tokens=stored["max_tokens"],
        temperature=stored["temperature"],
        top_p=stored["top_p"],
        seed=stored["seed"],
        schema=form["json_schema"]["schema"] if form else None,
    )
    return Item(**stored["item"]), request, stored["kinds"]


def write_file(job: BatchJob, url: str, into: IO[bytes]) -> None:
    """The batch's requests as JSON lines."""
    rows = BatchRequest.objects.filter(job=job).order_by("pk").values_list("custom_id", "body")
    for custom_id, body in rows.iterator(chunk_size=500):
        line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body["body"]}
        into.write(json.dumps(line).encode() + b"\n")
    into.seek(0)


@transaction.atomic
def note_file(job: BatchJob, file_id: str, own: uuid.UUID) -> None:
    hold(own)
    job.file_id = file_id
    job.save(update_fields=["file_id"])


@transaction.atomic
def note_view(job: BatchJob, view: View, own: uuid.UUID) -> None:
    """What the provider says of the batch; the first time, that it has it."""
    hold(own)
    now = timezone.now()
    if job.state == BatchState.PREPARED:
        job.state, job.batch_id, job.submitted_at = BatchState.SUBMITTED, view.id, now
    job.status, job.checked_at, job.error = view.status, now, view.words
    job.completed = view.completed if view.completed is not None else job.completed
    job.failed = view.failed if view.failed is not None else job.failed
    job.save(
        update_fields=["state", "batch_id", "submitted_at", "status", "checked_at", "error", "completed", "failed"]
    )


def note_error(job: BatchJob, words: str) -> None:
    BatchJob.objects.filter(pk=job.pk).update(error=words[:500], checked_at=timezone.now())


@transaction.atomic
def split_job(job: BatchJob, own: uuid.UUID) -> bool:
    """The second half of the questions into a batch of their own; False when there is one question only."""
    hold(own)
    tasks = list(BatchRequest.objects.filter(job=job).order_by("task").values_list("task", flat=True).distinct())
    if len(tasks) < 2:
        return False
    other = _open(job.lane, job.run_id)
    moved = BatchRequest.objects.filter(job=job, task__in=tasks[len(tasks) // 2 :])
    Reservation.objects.filter(pk__in=moved.values("call")).update(lease=other.lease)
    Task.objects.filter(lease_id=job.lease, pk__in=moved.values("task")).update(lease_id=other.lease)
    other.requests = moved.update(job=other)
    job.requests -= other.requests
    job.file_id = ""
    other.save(update_fields=["requests"])
    job.save(update_fields=["requests", "file_id"])
    return True


@transaction.atomic
def return_tasks(job: BatchJob, own: uuid.UUID, words: str, *, pause_s: float = 0, patient: bool = False) -> None:
    """Nothing of it was done: its tasks go back, after a pause, and what was set aside for them is free again.

    Without words there is nothing to tell, and the batch is forgotten.
    """
    hold(own)
    rows = list(BatchRequest.objects.filter(job=job, done=False).values_list("task", "seen", "call"))
    tasks = {task: seen for task, seen, _ in rows}
    finished = [Finished(task, seen, pause_s, words, patient) for task, seen in tasks.items()]
    flush(Batch(job.run, finished=finished, released=[call for _, _, call in rows]), lane=job.lane, lease=job.lease)
    _end(job, BatchState.FAILED, words)
    if not words:
        job.delete()


@transaction.atomic
def end_job(job: BatchJob, own: uuid.UUID, state: BatchState, words: str = "") -> None:
    """Everything of it is in the ledger: its requests and its lease go, the row of the batch stays."""
    hold(own)
    _end(job, state, words)


def _end(job: BatchJob, state: BatchState, words: str) -> None:
    BatchRequest.objects.filter(job=job).delete()
    release_pump(job.lease)
    job.state, job.error = state, words[:500]
    if state == BatchState.TAKEN:
        job.taken_at = timezone.now()
    job.save(update_fields=["state", "error", "taken_at"])
