"""A model server for benchmarks: answers every chat completion with the same path after a fixed time. Simulated.

`python -m tests.bench.canned --latency-ms 200` prints its base URL and serves until it is ended. It does as little as a
server can, so that the clients beside it are what is measured.
"""

from __future__ import annotations

import argparse
import asyncio

import orjson
from aiohttp import web

from apps.pipeline.protocol import SIMULATED_FINGERPRINT

WORDS = "The pulse is normal, the pain began after a fall and the imaging shows no fracture, so the ligament is the likely structure. "
TEXT = "Restating the question.\n" + WORDS * 16 + "\nFinal answer: A. Anterior structure of the knee"
REPLY = orjson.dumps(
    {
        "id": "chatcmpl-canned",
        "object": "chat.completion",
        "created": 0,
        "model": "canned",
        "system_fingerprint": SIMULATED_FINGERPRINT,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": TEXT}, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 520, "total_tokens": 920},
    }
)


def app(latency_s: float) -> web.Application:
    async def chat(request: web.Request) -> web.Response:
        await request.read()
        if latency_s:
            await asyncio.sleep(latency_s)
        return web.Response(body=REPLY, content_type="application/json")

    made = web.Application()
    made.router.add_post("/v1/chat/completions", chat)
    return made


async def serve(latency_s: float) -> None:
    runner = web.AppRunner(app(latency_s), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency-ms", type=float, default=200)
    asyncio.run(serve(parser.parse_args().latency_ms / 1000))
