"""Our lanes beside the openai package and a bare loop: calls a second and CPU a call, one after the other in one run.

Each client is a process of its own with 256 calls in flight against the same canned server (50 ms a reply, simulated).
The lanes marked durable are real pumps on a real PostgreSQL: every path and every Call is committed with fsync. Run
alone: `python -m tests.bench.bench_lanes`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

IN_FLIGHT = 256
CALLS = 4_500  # 500 questions, nine paths each
SLOW_CALLS = 1_350  # of clients that make a few hundred a second
LATENCY_MS = 50  # a ceiling of 5,120 calls a second with 256 in flight, above what any client here reaches
SPAN = "SELECT extract(epoch FROM max(created_at + latency_ms * interval '1 millisecond') - min(created_at)) FROM pipeline_call"

CLIENTS = (  # (name, kind, calls)
    ("bare loop: aiohttp + orjson, replies dropped", "bare", CALLS),
    ("lean backend alone, nothing kept", "lean", CALLS),
    ("**lean lane, all writes durable**", "lane:lean", CALLS),
    ("sdk lane, all writes durable", "lane:sdk", SLOW_CALLS),
    ("sdk backend alone, nothing kept", "sdk", SLOW_CALLS),
    ("AsyncOpenAI, its aiohttp transport", "openai-aiohttp", SLOW_CALLS),
    ("AsyncOpenAI, stock", "openai", SLOW_CALLS),
)


def run() -> list[dict[str, Any]]:
    """[{name, calls_s, cpu_ms, stock}, …]; the last row is what the others are compared with."""
    with tempfile.TemporaryDirectory(prefix="bench-lanes-") as folder:
        Path(folder).chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.canned", "--latency-ms", str(LATENCY_MS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            rows = [_measure(name, kind, calls, url, Path(folder)) for name, kind, calls in CLIENTS]
        finally:
            server.terminate()
            server.wait()
    stock = rows[-1]["calls_s"]
    return [row | {"stock": row["calls_s"] / stock} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    head = f"| {IN_FLIGHT} calls in flight, {LATENCY_MS} ms a reply | calls/s | CPU ms/call | × stock |\n|---|---:|---:|---:|\n"
    line = "| {name} | {calls_s:,.0f} | {cpu_ms:.2f} | {stock:.1f} |\n"
    return head + "".join(line.format(**row) for row in rows)


def _measure(name: str, kind: str, calls: int, url: str, folder: Path) -> dict[str, Any]:
    if kind.startswith("lane:"):
        wall, cpu = _lane(kind.removeprefix("lane:"), calls, url, folder / kind.replace(":", "-"))
    else:
        words = [sys.executable, "-m", "tests.bench.bench_lanes", "--client", kind, str(calls), url]
        wall, cpu = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {"name": name, "calls_s": calls / wall, "cpu_ms": 1000 * cpu / calls}


def _lane(transport: str, calls: int, url: str, var: Path) -> tuple[float, float]:
    """Seconds from the first call to the last reply, and the CPU seconds of the worker process."""
    from tests.bench.bench_run import _write_questions
    from tests.faults.instance import Instance

    with Instance(var) as instance:
        source = var / "anatomy_val.csv"
        _write_questions(source, calls // 9)
        instance.manage("import_questions", "mmlu", str(source), "--split", "val", "--subject", "anatomy")
        config = var / "run.toml"
        config.write_text(
            f'[[endpoints]]\nname = "canned"\nbase_url = "{url}"\nmodel = "canned"\ntransport = "{transport}"\n'
            f"max_in_flight = {IN_FLIGHT}\n"
            '[[generators]]\nname = "canned"\nendpoint = "canned"\ntemperatures = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]\n'
            + "".join(
                f'[{stage}]\nendpoint = "canned"\n'
                for stage in ("judge", "ranker", "refiner", "regenerator", "summariser")
            )
        )
        instance.manage("create_run", "--name", "bench", "--config", str(config))
        words = [sys.executable, "-m", "tests.bench.bench_lanes", "--pump", "generate@canned"]
        env = instance.env | {"DJANGO_SETTINGS_MODULE": "reasonmed_site.settings"}
        cpu: float = json.loads(subprocess.run(words, check=True, capture_output=True, text=True, env=env).stdout)
        assert instance.count("SELECT count(*) FROM reasoning_reasoningpath") == calls
        assert instance.count("SELECT count(*) FROM pipeline_call") == calls
        return float(instance.query(SPAN)[0][0]), cpu


def _pump(lane: str) -> None:
    """In a process of its own: one pump works the lane off. Prints its CPU seconds, start-up left out."""
    from tests.bench.__main__ import prepare_django

    prepare_django()
    from apps.pipeline.services import start_run
    from apps.reasoning.models import Run
    from workers.embedded import tune_memory
    from workers.pump import Pump
    from workers.simulation import make_backend

    start_run(run=Run.objects.get())
    tune_memory()
    begun = time.process_time()
    Pump(lane, 0, make_backend, lambda: False).run()
    print(json.dumps(time.process_time() - begun))


async def _client(kind: str, calls: int, url: str) -> tuple[float, float]:
    make, close = await _caller(kind, url)
    left = iter(range(calls))

    async def work() -> None:
        for number in left:
            await make(number)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    spent = time.perf_counter() - begun, time.process_time() - cpu
    await close()
    return spent


MESSAGES = [
    {"role": "system", "content": "Stage: generate\n" + "You are a medical expert. Reason in six steps. " * 20},
    {
        "role": "user",
        "content": "<question>\n" + "A 41-year-old patient reports pain after a fall. " * 8 + "\n</question>",
    },
]  # about as long as what the lane sends
Caller = tuple[Callable[[int], Awaitable[object]], Callable[[], Awaitable[None]]]


async def _caller(kind: str, url: str) -> Caller:
    if kind == "bare":
        return _bare(url)
    if kind in ("lean", "sdk"):
        return _backend(kind, url)
    return _openai(kind, url)


def _bare(url: str) -> Caller:
    import aiohttp
    import orjson

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT))
    headers = {"Content-Type": "application/json"}

    async def call(seed: int) -> object:
        body = orjson.dumps(
            {"model": "canned", "messages": MESSAGES, "max_tokens": 8192, "temperature": 0.7, "seed": seed}
        )
        async with session.post(f"{url}/chat/completions", data=body, headers=headers) as reply:
            assert reply.status == 200
            return orjson.loads(await reply.read())

    return call, session.close


def _backend(kind: str, url: str) -> Caller:
    from apps.pipeline.config import EndpointConfig
    from apps.pipeline.protocol import Request
    from workers.backends.dispatch import ByTransport

    endpoint = EndpointConfig.model_validate({"name": "canned", "base_url": url, "model": "canned", "transport": kind})
    backend = ByTransport(lambda found: found.base_url)

    async def call(seed: int) -> object:
        return await backend.complete(Request(endpoint, MESSAGES, 8192, temperature=0.7, seed=seed))

    return call, backend.close


def _openai(kind: str, url: str) -> Caller:
    import openai

    limit = openai.DefaultAioHttpClient() if kind == "openai-aiohttp" else None
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600, http_client=limit)

    async def call(seed: int) -> object:
        return await client.chat.completions.create(
            model="canned",
            messages=MESSAGES,
            max_tokens=8192,
            temperature=0.7,
            seed=seed,  # type: ignore[arg-type]
        )

    return call, client.close


def main() -> None:
    if sys.argv[1:2] == ["--client"]:
        print(json.dumps(asyncio.run(_client(sys.argv[2], int(sys.argv[3]), sys.argv[4]))))
    elif sys.argv[1:2] == ["--pump"]:
        _pump(sys.argv[2])
    else:
        from tests.bench.__main__ import prepare_django

        os.environ.setdefault("REASONMED_VAR", tempfile.mkdtemp(prefix="bench-"))
        prepare_django()
        print(table(run()))


if __name__ == "__main__":
    main()
