"""On a real vLLM: prefix-cache hits with our prompt order and without, and our client beside vLLM's own benchmark client.

Starts the engine tests' tiny model on the CPU build (`make engine-setup`), or uses a server that is there already:

    python -m tests.bench.bench_vllm [--url http://127.0.0.1:8000 --model NAME --in-flight 256]

vLLM's client wants pandas in its environment; without it that line is left out. On a GPU, serve a 7B-shaped model with dummy weights (`vllm serve … --load-format dummy`) and give its address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: 0\n"  # the CPU build's distribution has another name
QUESTIONS, PATHS, PATH_WORDS, MAX_TOKENS = 12, 9, 260, 24
HITS, QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"


def run(url: str, model: str, in_flight: int) -> list[dict[str, Any]]:
    """[{name, value, unit, note}, …]"""
    rows = []
    for name, order in (
        ("our order: rubric, question, key, path", ours),
        ("turned round: path, key, question, rubric", turned),
    ):
        before = counters(url)
        wall, tokens = asyncio.run(ask(url, model, in_flight, [order(*case) for case in cases(name)]))
        after = counters(url)
        hits, queries = (after[key] - before[key] for key in (HITS, QUERIES))
        note = f"{QUESTIONS} questions, {PATHS} judged paths each"
        rows.append(line(f"prefix-cache hit rate, {name}", 100 * hits / queries, "%", note))
        rows.append(line(f"tokens, {name}", tokens / wall, "tokens/s", "in and out; a cold start of the prompts"))
    rows += clients(url, model, in_flight)
    return rows


def cases(salt: str) -> Iterator[tuple[str, str, str]]:
    """(question, key, path) of every judge call, a question's paths one after the other; new texts for each salt."""
    dice = random.Random(salt)
    words = [
        "pain",
        "fever",
        "pulse",
        "lesion",
        "artery",
        "nerve",
        "acid",
        "renal",
        "lung",
        "sodium",
        "drug",
        "dose",
        "onset",
        "chronic",
        "acute",
        "sign",
    ]

    def text(number: int) -> str:
        return " ".join(dice.choice(words) for _ in range(number)) + "."

    for _ in range(QUESTIONS):
        question = f"{text(80)}\nA. {text(3)}\nB. {text(3)}\nC. {text(3)}\nD. {text(3)}"
        for _ in range(PATHS):
            yield question, "A. " + text(3), text(PATH_WORDS)


def ours(question: str, key: str, path: str) -> list[dict[str, str]]:
    from apps.pipeline.prompts import load_prompts, render

    return render(load_prompts()["verify"], question=question, key=key, path=path)


def turned(question: str, key: str, path: str) -> list[dict[str, str]]:
    """The same text with what varies most at its beginning."""
    system, user = ours(question, key, path)
    sections = re.findall(r"<(\w+)>\n(.*?)\n</\1>", user["content"], re.DOTALL)
    data = "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in reversed(sections))
    return [{"role": "user", "content": f"{data}\n\n{system['content']}"}]


async def ask(url: str, model: str, in_flight: int, prompts: list[list[dict[str, str]]]) -> tuple[float, int]:
    """Seconds and tokens of all calls through the lean transport."""
    from apps.pipeline.config import EndpointConfig
    from apps.pipeline.protocol import Request
    from workers.backends.openai_compatible import OpenAICompatible

    endpoint = EndpointConfig.model_validate({"name": "bench", "base_url": f"{url}/v1", "model": model})
    backend, left, tokens = OpenAICompatible(), iter(prompts), 0

    async def work() -> None:
        nonlocal tokens
        for messages in left:
            reply = await backend.complete(Request(endpoint, messages, MAX_TOKENS, temperature=0.0, seed=1))
            tokens += (reply.tokens_in or 0) + (reply.tokens_out or 0)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    wall = time.perf_counter() - begun
    await backend.close()
    return wall, tokens


def clients(url: str, model: str, in_flight: int) -> list[dict[str, Any]]:
    """The same prompts through our client and through `vllm bench serve`; caches emptied by new texts each time."""
    prompts = [[{"role": "user", "content": f"{q}\n{p}"}] for q, _key, p in cases("clients")]
    asyncio.run(ask(url, model, in_flight, prompts))  # both find the prompts cached
    wall, tokens = asyncio.run(ask(url, model, in_flight, prompts))
    own = tokens / wall
    note = f"{len(prompts)} prompts, {in_flight} in flight"
    rows = [line("our client", own, "tokens/s", note)]
    theirs = vllm_bench(url, model, in_flight, [p[0]["content"] for p in prompts])
    if theirs is None:
        return [*rows, line("vllm bench serve", float("nan"), "tokens/s", "not measured: it did not run")]
    return [
        *rows,
        line("vllm bench serve", theirs, "tokens/s", note),
        line("ratio", own / theirs, "×", "ours over theirs"),
    ]


def vllm_bench(url: str, model: str, in_flight: int, prompts: list[str]) -> float | None:
    from tests.engine.vllm_server import ENV, PYTHON

    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder) / "prompts.jsonl", Path(folder) / "result.json"
        data.write_text("\n".join(json.dumps({"prompt": p, "output_tokens": MAX_TOKENS}) for p in prompts))
        words = [str(PYTHON), "-c", "from vllm.entrypoints.cli.main import main; main()", "bench", "serve"]
        words += ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url, "--model", model]
        words += ["--dataset-name", "custom", "--dataset-path", str(data), "--custom-output-len", str(MAX_TOKENS)]
        words += ["--num-prompts", str(len(prompts)), "--max-concurrency", str(in_flight), "--temperature", "0"]
        words += ["--tokenizer", tokenizer_of(url), "--skip-chat-template", "--disable-shuffle", "--seed", "1"]
        words += ["--save-result", "--result-dir", folder, "--result-filename", result.name]
        named = Path(folder) / "vllm-0.dist-info"
        named.mkdir()
        (named / "METADATA").write_text(METADATA)
        env = {**os.environ, **ENV, "PYTHONPATH": folder}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        if not result.exists():
            print(done.stderr[-2000:])
            return None
        return float(json.loads(result.read_text())["total_token_throughput"])


def tokenizer_of(url: str) -> str:
    """The folder or name of the model that the server has loaded."""
    with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as reply:
        return str(json.load(reply)["data"][0]["root"])


def counters(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    found = {HITS: 0.0, QUERIES: 0.0}
    for name, value in re.findall(r"^(vllm:\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        if name in found:
            found[name] += float(value)
    return found


def line(name: str, value: float, unit: str, note: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 2), "unit": unit, "note": note}


@contextmanager
def tiny_server() -> Iterator[str]:
    from tests.engine.vllm_server import VllmServer

    with tempfile.TemporaryDirectory(prefix="bench-vllm-") as folder, VllmServer(Path(folder)) as server:
        yield server.url


def measure() -> list[dict[str, Any]] | None:
    """With the tiny model on the CPU build; None where vLLM is not set up."""
    from tests.engine.vllm_server import MODEL, PYTHON

    if not PYTHON.exists():
        return None
    with tiny_server() as url:
        return run(url, MODEL, 16)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_vllm")
    parser.add_argument("--url")
    parser.add_argument("--model")
    parser.add_argument("--in-flight", type=int, default=256)
    given = parser.parse_args()
    from tests.bench.__main__ import prepare_django, table

    prepare_django()
    rows = run(given.url.rstrip("/"), given.model, given.in_flight) if given.url else measure()
    print(table("vLLM", rows) if rows else "There is no vLLM: make engine-setup")


if __name__ == "__main__":
    main()
