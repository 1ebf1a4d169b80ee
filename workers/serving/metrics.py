"""What a vLLM server tells about itself at /metrics, in Prometheus' text form. The text may be anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Metrics = dict[str, float]

MAX_TEXT = 4 * 1024 * 1024
MAX_NUMBER = 1e15  # above it a count is nonsense, and JSON readers lose digits
HISTORY = 60  # readings kept
SHOWN = ("at", "kv_use", "running", "waiting", "tokens_in_s", "tokens_out_s")  # of an old reading

# Our name: the server's names, newest first; the first of them that is there counts.
GAUGES = {
    "kv_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
}
COUNTERS = {
    "preemptions": ("vllm:num_preemptions_total", "vllm:num_preemptions"),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "tokens_in": ("vllm:prompt_tokens_total", "vllm:prompt_tokens"),
    "tokens_out": ("vllm:generation_tokens_total", "vllm:generation_tokens"),
}
WANTED = frozenset(name for names in (*GAUGES.values(), *COUNTERS.values()) for name in names)
LINE = re.compile(r"^(vllm:[a-zA-Z0-9_:]{1,80})[ \t{].{0,4000}$", re.MULTILINE)


def parse_metrics(text: str) -> Metrics:
    """kv_use (0…1), running, waiting, preemptions, prefix_queries, prefix_hits, prefix_hit_rate (0…1), tokens_in, tokens_out.

    Counts of several engines are added, of the KV use the highest is taken. What is missing, negative, not finite or
    absurd is left out.
    """
    found: dict[str, list[float]] = {}
    for line in LINE.finditer(text[:MAX_TEXT]):
        if line[1] in WANTED and (value := _value(line[0], len(line[1]))) is not None:
            found.setdefault(line[1], []).append(value)
    metrics: Metrics = {}
    for ours, names in (GAUGES | COUNTERS).items():
        values = next((found[name] for name in names if name in found), None)
        if values is not None:
            metrics[ours] = min(max(values), 1.0) if ours == "kv_use" else sum(values)
    queries, hits = metrics.get("prefix_queries", 0), metrics.get("prefix_hits")
    if queries and hits is not None and hits <= queries:
        metrics["prefix_hit_rate"] = hits / queries
    return metrics


def _value(line: str, name_length: int) -> float | None:
    """The sample's value: what follows the labels, before a timestamp."""
    rest = line[name_length:]
    if rest.startswith("{"):
        rest = rest[rest.rfind("}") + 1 :]
    words = rest.split(maxsplit=1)
    try:
        value = float(words[0]) if words else math.nan
    except ValueError:
        return None
    return value if 0 <= value <= MAX_NUMBER else None  # false for nan


def next_reading(metrics: Metrics, at: float, before: Mapping[str, float]) -> Metrics:
    """The reading with its time (seconds) and the tokens per second since the one `before`.

    A counter that fell belongs to a server that started again: it counts from zero.
    """
    reading = {**metrics, "at": at}
    seconds = at - before.get("at", math.inf)
    if seconds > 0:
        for name in ("tokens_in", "tokens_out"):
            if name in metrics and name in before:
                grown = metrics[name] - before[name]
                reading[f"{name}_s"] = (grown if grown >= 0 else metrics[name]) / seconds
    return {name: round(value, 6) for name, value in reading.items()}


def shorten(reading: Mapping[str, float]) -> Metrics:
    """What is kept of a reading in the history."""
    return {name: reading[name] for name in SHOWN if name in reading}
