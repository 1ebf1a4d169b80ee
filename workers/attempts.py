"""One item's attempts: which errors are tried again, how often, and what is booked for each."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from apps.pipeline.outputs import CallOut, FailureOut, Output, RejectedError, ResponseOut, VerdictOut
from apps.pipeline.protocol import NOT_ITS_FAULT, TRANSIENT, HeldBackError, ModelError, Reply, Request
from apps.pipeline.stages import BY_NAME
from apps.pipeline.worst_case import most_it_costs
from apps.reasoning.policy.assess import Item
from workers.backends.bodies import sent_params
from workers.ids import new_id
from workers.planning import Unit
from workers.purse import Purse

QUICK_TRIES = 3  # of a transient error, before the question goes back to wait
PATIENCE = 20  # times a question may go back so before the output is set aside
ACCESS_PAUSE_S = 60.0  # until a key, a quota or a model's name is looked at again
EXCERPT = 2_000  # characters kept of a reply that was rejected
OVER_BUDGET = "budget: what the call can cost does not fit what is left"


@dataclass(slots=True)
class Result:
    """What became of an item. None of output, failure: it goes back, `deferred` says why."""

    unit: Unit
    calls: list[CallOut] = field(default_factory=list)
    output: Output | None = None
    failure: FailureOut | None = None
    deferred: str = ""
    patient: bool = False  # deferred through no failure of its own
    retry_in: float | None = None  # seconds, where whoever deferred it knows
    released: list[uuid.UUID] = field(default_factory=list)  # reservations of what was not sent


@dataclass(slots=True)
class Tries:
    """How often an item was tried, by what went wrong, and so whether it is tried again."""

    transient: int = 0
    lengths: int = 0
    rejections: int = 0

    def again(self, kind: str, schema_retries: int, *, stopping: bool = False) -> bool:
        """Count a failure of this class; whether another attempt follows at once."""
        if kind in TRANSIENT:
            self.transient += 1
            return self.transient < QUICK_TRIES and not stopping
        if kind == "length":
            self.lengths += 1
            return self.lengths == 1
        if kind in ("schema", "empty"):
            self.rejections += 1
            return self.rejections <= schema_retries
        return False

    def next_request(self, request: Request, kind: str) -> Request:
        """With twice the cap after a cut reply, another seed after one that could not be used."""
        if kind == "length":
            serve = request.endpoint.serve
            most = serve.max_model_len if serve and serve.max_model_len else request.max_tokens * 2
            return replace(request, max_tokens=min(request.max_tokens * 2, max(most, request.max_tokens)))
        if kind in ("schema", "empty"):
            return replace(request, seed=((request.seed or 0) + self.rejections) & 0x7FFFFFFF)
        return request


@dataclass(slots=True)
class Attempt:
    request: Request
    number: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: uuid.UUID = field(default_factory=new_id)
    reserved: bool = False
    began: float = field(default_factory=time.monotonic)  # a host's time may be set back while a call is away


class Sender(Protocol):
    """What attempts are sent through: a backend behind its limits. May raise HeldBackError: nothing was sent."""

    async def send(self, request: Request) -> Reply: ...


async def settle_item(unit: Unit, item: Item, channel: Sender, purse: Purse, stopping: Callable[[], bool]) -> Result:
    """Make attempts until the item has its output, failed for good, or must wait."""
    result, tries, config = Result(unit), Tries(), unit.context.config
    request = BY_NAME[item.stage].build(config, unit.context.prompts, item, unit.require_material())
    while True:
        attempt = Attempt(request, len(result.calls) + 1)
        if not request.endpoint.free and not await purse.reserve(unit, item, attempt):
            result.deferred, result.patient = OVER_BUDGET, True
            return result
        reply: Reply | None = None
        try:
            reply = await channel.send(request)
            result.output = accept_reply(unit, item, request, reply, last=tries.rejections >= config.schema_retries)
            result.calls.append(book(unit, item, attempt, reply, "ok"))
            return result
        except HeldBackError as held:
            result.deferred, result.patient, result.retry_in = held.reason, True, held.retry_in
            if attempt.reserved:
                result.released.append(attempt.id)
            return result
        except (RejectedError, ModelError) as raised:
            error = raised
        kind = error.error_class
        again = tries.again(kind, config.schema_retries, stopping=stopping())
        result.calls.append(book(unit, item, attempt, reply, "retried" if again else "failed", error))
        if not again:
            give_up(result, item, kind, error.message)
            return result
        request = tries.next_request(request, kind)
        if kind in TRANSIENT:
            named = error.retry_after if isinstance(error, ModelError) else None
            await asyncio.sleep(min(named or 0.2 * 2**tries.transient, 30) * random.uniform(0.8, 1.2))


def accept_reply(unit: Unit, item: Item, request: Request, reply: Reply, *, last: bool) -> Output:
    """What the stage makes of a reply. A summary that misses the key is refused unless it is the `last` attempt: then
    it is kept, and holds its question back. Raises RejectedError."""
    material = unit.require_material()
    output = BY_NAME[item.stage].accept(unit.context.config, item, material, request, reply)
    if isinstance(output, ResponseOut) and output.answer != material.key and not last:
        raise RejectedError("schema", f"the summary's answer is {output.answer or 'not stated'}, not the key")
    return output


def give_up(result: Result, item: Item, kind: str, message: str) -> None:
    """No attempt follows: the question goes back to wait for its model, or the output is set aside."""
    unit = result.unit
    if kind in NOT_ITS_FAULT and unit.lease.attempts < PATIENCE:
        result.deferred = f"{kind}: {message}"
        if kind == "access":
            result.patient, result.retry_in = True, ACCESS_PAUSE_S
        return
    call = result.calls[-1].id
    result.failure = FailureOut(unit.lease.question, item.stage, item.key, kind, message, call)
    if item.stage in ("verify", "reverify") and item.path is not None:
        result.output = VerdictOut(unit.lease.question, item.path, "unjudged", None, None, None, message)


def book(
    unit: Unit,
    item: Item,
    attempt: Attempt,
    reply: Reply | None,
    status: str,
    error: RejectedError | ModelError | None = None,
) -> CallOut:
    """The Call of an attempt. What it cost, where the server does not say, is the most it can have cost."""
    request = attempt.request
    endpoint = request.endpoint
    if reply is None and isinstance(error, ModelError):
        reply = error.reply
    params = sent_params(request)
    seed = params.pop("seed", None)
    call = CallOut(
        run=unit.context.run.pk,
        question=unit.lease.question,
        stage=item.stage,
        item=item.key,
        endpoint=endpoint.name,
        model=(reply.model if reply and reply.model else endpoint.model)[:200],
        prompt=unit.context.prompt_of(item),
        params=params,
        seed=seed,
        attempt=attempt.number,
        status=status,
        created_at=attempt.started,
        error_class=error.error_class if error else "",
        error=error.message if error else "",
        latency_ms=int((time.monotonic() - attempt.began) * 1000),
        reserved=attempt.reserved,
        id=attempt.id,
        cost=_cost(request, reply, error),
    )
    if reply is not None:
        call.finish_reason = reply.finish_reason
        call.tokens_in, call.tokens_out, call.tokens_cached = reply.tokens_in, reply.tokens_out, reply.tokens_cached
        call.simulated, call.fingerprint = reply.simulated, reply.fingerprint
        if error is not None:
            call.excerpt = (reply.text or reply.reasoning)[:EXCERPT]
    return call


def _cost(request: Request, reply: Reply | None, error: Exception | None) -> Decimal:
    endpoint = request.endpoint
    if endpoint.free:
        return Decimal(0)
    if reply is None:
        billed = isinstance(error, ModelError) and error.maybe_billed
        return most_it_costs(request) if billed else Decimal(0)
    if reply.tokens_in is None or reply.tokens_out is None:
        return most_it_costs(request)
    return endpoint.cost(reply.tokens_in, reply.tokens_out, reply.tokens_cached or 0)
