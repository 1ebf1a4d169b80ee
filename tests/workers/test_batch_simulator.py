"""The simulator's files and batches as the `openai` package sees them, and the refusals that a provider would give."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestServer

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import ModelError
from tests.workers.simulation import FixedKeys, messages
from workers.batch.provider import Provider, View
from workers.simulated import Simulator, SimulatorConfig, parse_faults

LINE: dict[str, Any] = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}
BODY: dict[str, Any] = {"model": "sim-qwen2.5-72b", "messages": messages("generate"), "max_tokens": 4000}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    simulator = Simulator(SimulatorConfig(faults=parse_faults({"batch": {"seconds": 0.02}})), FixedKeys())
    endpoint = EndpointConfig(name="b", base_url="simulated", model="sim-qwen2.5-72b", transport="batch")
    async with TestServer(simulator.app()) as server:
        asked = Provider(endpoint, str(server.make_url("/v1")))
        asked.simulator = simulator  # type: ignore[attr-defined]
        yield asked
        await asked.close()


def lines(*entries: Any) -> io.BytesIO:
    return io.BytesIO(b"\n".join(e if isinstance(e, bytes) else orjson.dumps(e) for e in entries))


def line(number: int, **fields: Any) -> dict[str, Any]:
    return {**LINE, "custom_id": str(number), "body": BODY, **fields}


async def run(provider: Provider, content: io.BytesIO) -> View:
    view = await provider.create(await provider.upload(content, "x.jsonl"), str(uuid.uuid4()))
    while not view.ended:
        await asyncio.sleep(0.01)
        view = await provider.retrieve(view.id)
    return view


async def read(provider: Provider, file_id: str) -> list[dict[str, Any]]:
    into = io.BytesIO()
    await provider.download(file_id, into)
    return [orjson.loads(raw) for raw in into.getvalue().splitlines()]


async def test_a_batch_from_its_file_to_its_results(provider: Provider) -> None:
    bad = line(2, body={"model": "sim-qwen2.5-72b", "messages": []})
    view = await run(provider, lines(line(1), bad, line(3, body={**BODY, "seed": 3})))
    assert (view.status, view.completed, view.failed) == ("completed", 2, 1)
    written, refused = await read(provider, view.output_file), await read(provider, view.error_file)
    assert {entry["custom_id"] for entry in written} == {"1", "3"}
    assert all(entry["response"]["status_code"] == 200 and entry["error"] is None for entry in written)
    assert [(entry["custom_id"], entry["response"]["status_code"]) for entry in refused] == [("2", 400)]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "empty_file"),
        ([b"{"], "invalid_json_line"),
        ([line(1), line(1)], "duplicate_custom_id"),
        ([line(1, url="/v1/embeddings")], "mismatched_endpoint"),
        ([line(1, body=None)], "missing_required_parameter"),
        ([line(1), line(2, body={**BODY, "model": "sim-judge"})], "mismatched_model"),
    ],
)
async def test_a_file_with_a_fault_is_refused_whole(provider: Provider, entries: list[Any], code: str) -> None:
    view = await run(provider, lines(*entries))
    assert (view.status, view.codes, view.output_file) == ("failed", (code,), "")
    assert view.words


async def test_a_batch_is_found_again_by_the_job_it_was_made_for(provider: Provider) -> None:
    file_id = await provider.upload(lines(line(1)), "x.jsonl")
    jobs = [str(uuid.uuid4()) for _ in range(205)]
    made = {job: (await provider.create(file_id, job)).id for job in jobs}
    now = datetime.now(UTC)
    for job in (jobs[0], jobs[100], jobs[-1]):
        found = await provider.find(job, now)
        assert found is not None
        assert found.id == made[job]
    assert await provider.find(str(uuid.uuid4()), now) is None


async def test_what_is_not_there_is_refused(provider: Provider) -> None:
    for ask, kind in (
        (provider.create("file_000999", "job"), "refused"),
        (provider.retrieve("batch_000999"), "access"),
        (provider.download("file_000999", io.BytesIO()), "access"),
        (provider.delete("file_000999"), "access"),
    ):
        with pytest.raises(ModelError) as caught:
            await ask
        assert caught.value.error_class == kind


async def test_a_deleted_file_is_gone(provider: Provider) -> None:
    file_id = await provider.upload(lines(line(1)), "x.jsonl")
    await provider.delete(file_id)
    with pytest.raises(ModelError, match="404"):
        await provider.delete(file_id)


async def test_cancelling_ends_a_batch_with_what_was_done(provider: Provider) -> None:
    provider.simulator.config.faults = parse_faults({"batch": {"seconds": 2}})  # type: ignore[attr-defined]
    file_id = await provider.upload(lines(*(line(n, body={**BODY, "seed": n}) for n in range(40))), "x.jsonl")
    view = await provider.create(file_id, "job")
    while not view.completed:
        view = await provider.retrieve(view.id)
    view = await provider.cancel(view.id)
    while not view.ended:
        view = await provider.retrieve(view.id)
    written, left = await read(provider, view.output_file), await read(provider, view.error_file)
    assert view.status == "cancelled"
    assert len(written) == view.completed < 40 == len(written) + len(left)
    assert {entry["error"]["code"] for entry in left} == {"batch_cancelled"}
    with pytest.raises(ModelError, match="409"):
        await provider.cancel(view.id)
