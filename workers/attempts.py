"""One item's attempts: which errors are tried again, how often, and what is booked for each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from apps.pipeline.outputs import CallOut, FailureOut, Output, RejectedError, ResponseOut, VerdictOut
from apps.pipeline.protocol import TRANSIENT, Backend, ModelError, Reply, Request
from apps.pipeline.stages import BY_NAME
from apps.reasoning.policy.assess import Item
from workers.planning import Unit

QUICK_TRIES = 3  # of a transient error, before the question goes back to wait
PATIENCE = 20  # times a question may go back so before the output is set aside


@dataclass(slots=True)
class Result:
    """What became of an item. None of output, failure: it goes back, `deferred` says why."""

    unit: Unit
    calls: list[CallOut] = field(default_factory=list)
    output: Output | None = None
    failure: FailureOut | None = None
    deferred: str = ""


async def settle_item(unit: Unit, item: Item, backend: Backend, stopping: Callable[[], bool]) -> Result:
    """Make attempts until the item has its output, failed for good, or must wait."""
    result = Result(unit)
    material, context = unit.material, unit.context
    assert material is not None
    stage = BY_NAME[item.stage]
    request = stage.build(context.config, context.prompts, item, material)
    rejections, lengths, transient = 0, 0, 0
    while True:
        started = datetime.now(UTC)
        reply: Reply | None = None
        try:
            reply = await backend.complete(request)
            output = stage.accept(context.config, item, material, request, reply)
            wrong = output if isinstance(output, ResponseOut) and output.answer != material.key else None
            if wrong is None or rejections >= context.config.schema_retries:
                _book(result, unit, item, request, reply, started, "ok")
                result.output = output
                return result
            raise RejectedError("schema", f"the summary's answer is {wrong.answer or 'not stated'}, not the key")
        except RejectedError as error:
            kind, message, retry_after = error.error_class, error.message, None
        except ModelError as error:
            kind, message, retry_after = error.error_class, error.message, error.retry_after
            reply = error.reply
        again = False
        if kind in TRANSIENT:
            transient += 1
            again = transient < QUICK_TRIES and not stopping()
        elif kind == "length":
            lengths += 1
            again = lengths == 1
            request = replace(request, max_tokens=request.max_tokens * 2)
        elif kind in ("schema", "empty"):
            rejections += 1
            again = rejections <= context.config.schema_retries
            request = replace(request, seed=((request.seed or 0) + rejections) & 0x7FFFFFFF)
        _book(result, unit, item, request, reply, started, "retried" if again else "failed", kind, message)
        if not again:
            _give_up(result, unit, item, kind, message)
            return result
        if kind in TRANSIENT:
            await asyncio.sleep(min(retry_after or 0.2 * 2**transient, 30) * random.uniform(0.8, 1.2))


def _give_up(result: Result, unit: Unit, item: Item, kind: str, message: str) -> None:
    if kind in TRANSIENT and unit.lease.attempts < PATIENCE:
        result.deferred = f"{kind}: {message}"
        return
    call = result.calls[-1].id
    result.failure = FailureOut(unit.lease.question, item.stage, item.key, kind, message, call)
    if item.stage in ("verify", "reverify") and item.path is not None:
        result.output = VerdictOut(unit.lease.question, item.path, "unjudged", None, None, None, message)


def _book(
    result: Result,
    unit: Unit,
    item: Item,
    request: Request,
    reply: Reply | None,
    started: datetime,
    status: str,
    kind: str = "",
    message: str = "",
) -> None:
    endpoint = request.endpoint
    params: dict[str, Any] = {"max_tokens": request.max_tokens}
    if request.temperature is not None:
        params["temperature"] = request.temperature
    if request.top_p is not None:
        params["top_p"] = request.top_p
    call = CallOut(
        run=unit.context.run.pk,
        question=unit.lease.question,
        stage=item.stage,
        item=item.key,
        endpoint=endpoint.name,
        model=(reply.model if reply and reply.model else endpoint.model)[:200],
        prompt=unit.context.config.prompts[BY_NAME[item.stage].prompt_name(item)],
        params=params,
        seed=request.seed,
        attempt=len(result.calls) + 1,
        status=status,
        created_at=started,
        error_class=kind,
        error=message,
        latency_ms=int((datetime.now(UTC) - started).total_seconds() * 1000),
    )
    if reply is not None:
        call.finish_reason = reply.finish_reason
        call.tokens_in, call.tokens_out, call.tokens_cached = reply.tokens_in, reply.tokens_out, reply.tokens_cached
        call.cost = endpoint.cost(reply.tokens_in or 0, reply.tokens_out or 0, reply.tokens_cached or 0)
        call.simulated, call.fingerprint = reply.simulated, reply.fingerprint
    result.calls.append(call)
