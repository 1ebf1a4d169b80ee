"""What the workbench relies on at the server's other addresses: adapters loaded while it runs, and its metrics."""

from __future__ import annotations

import re

import pytest

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import ModelError, Reply, Request
from tests.engine.vllm_server import MODEL, VllmServer
from workers.backends.openai_compatible import OpenAICompatible
from workers.serving.metrics import parse_metrics

pytestmark = pytest.mark.engine
ADAPTER = "tuned"


async def test_an_adapter_is_loaded_while_the_server_runs(vllm: VllmServer) -> None:
    with pytest.raises(ModelError) as unknown:
        await ask(vllm, ADAPTER)
    assert unknown.value.status == 404
    vllm.post("/v1/load_lora_adapter", {"lora_name": ADAPTER, "lora_path": str(vllm.adapter)})
    try:
        base, tuned = await ask(vllm, MODEL), await ask(vllm, ADAPTER)
        assert (base.model, tuned.model) == (MODEL, ADAPTER)
        assert base.text != tuned.text
        assert (await ask(vllm, MODEL)).text == base.text, "the base model is not the same any more"
    finally:
        vllm.post("/v1/unload_lora_adapter", {"lora_name": ADAPTER})


async def test_metrics_are_read(vllm: VllmServer) -> None:
    await ask(vllm, MODEL)
    before = parse_metrics(vllm.get("/metrics"))
    reply = await ask(vllm, MODEL)
    after = parse_metrics(vllm.get("/metrics"))
    assert set(after) == {
        "kv_use", "running", "waiting", "preemptions", "prefix_queries", "prefix_hits", "prefix_hit_rate", "tokens_in",
        "tokens_out",
    }  # fmt: skip
    assert after["tokens_out"] - before["tokens_out"] == reply.tokens_out
    assert after["tokens_in"] - before["tokens_in"] == reply.tokens_in
    assert after["prefix_hits"] > before["prefix_hits"], "the same prompt again is read from the cache"
    assert reply.tokens_cached == after["prefix_hits"] - before["prefix_hits"]


async def ask(vllm: VllmServer, model: str) -> Reply:
    endpoint = EndpointConfig(name="vllm", base_url=f"{vllm.url}/v1", model=model)
    words = " ".join(f"finding {number}," for number in range(100))
    backend = OpenAICompatible()
    try:
        messages = [{"role": "user", "content": re.sub(",$", ".", words)}]
        return await backend.complete(Request(endpoint, messages, max_tokens=24, temperature=0))
    finally:
        await backend.close()
