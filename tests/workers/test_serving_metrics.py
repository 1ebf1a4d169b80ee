"""Metrics of vLLM, old and new names, and texts that are nothing of the kind."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.fake_vllm import METRICS
from workers.serving.metrics import HISTORY, MAX_TEXT, next_reading, parse_metrics
from workers.serving.replica import Status


def test_todays_names() -> None:
    assert parse_metrics(METRICS) == {
        "kv_use": 0.25,
        "running": 3,
        "waiting": 1,
        "preemptions": 2,
        "prefix_queries": 1000,
        "prefix_hits": 640,
        "prefix_hit_rate": 0.64,
        "tokens_in": 5000,
        "tokens_out": 700,
    }


def test_older_names() -> None:
    text = (
        'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\n'
        "vllm:gpu_prefix_cache_queries_total 10\nvllm:gpu_prefix_cache_hits_total 5\n"
    )
    assert parse_metrics(text) == {"kv_use": 0.5, "prefix_queries": 10, "prefix_hits": 5, "prefix_hit_rate": 0.5}


def test_where_both_names_are_there_the_newer_counts_once() -> None:
    text = "vllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.4\nvllm:num_preemptions 7\nvllm:num_preemptions_total 7\n"
    assert parse_metrics(text) == {"kv_use": 0.4, "preemptions": 7}


def test_several_engines_add_up_and_the_fullest_counts() -> None:
    text = "".join(
        f'vllm:num_requests_running{{engine="{n}"}} {n}\nvllm:kv_cache_usage_perc{{engine="{n}"}} 0.{n}\n'
        for n in (1, 2, 3)
    )
    assert parse_metrics(text) == {"running": 6, "kv_use": 0.3}


@pytest.mark.parametrize(
    "labels",
    ['{a="x y"}', '{a="}"}', '{a="} 9"}', '{a="\\"quoted\\" 5"}', "{}", '{a="# 3"}', '{a="é\u2028"}'],
)
def test_labels_may_hold_anything(labels: str) -> None:
    assert parse_metrics(f"vllm:num_requests_running{labels} 4 1700000000\n") == {"running": 4}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1e300", "four", "", "0x10", "1_0_"])
def test_a_value_that_is_none_is_left_out(value: str) -> None:
    assert parse_metrics(f"vllm:num_requests_running {value}\nvllm:num_requests_waiting 2\n") == {"waiting": 2}


def test_more_hits_than_queries_give_no_rate() -> None:
    found = parse_metrics("vllm:prefix_cache_queries_total 1\nvllm:prefix_cache_hits_total 2\n")
    assert "prefix_hit_rate" not in found


@given(st.text() | st.text(alphabet='vllm:num_requests_running{}" \n#=0123456789.eE+-'))
def test_any_text_gives_numbers_or_nothing(text: str) -> None:
    found = parse_metrics(text)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    json.dumps(found, allow_nan=False)


def test_huge_bodies_take_no_time() -> None:
    line = 'vllm:num_requests_running{engine="0"} 1\n'
    hostile = [
        "vllm:num_requests_running" + "{" * MAX_TEXT,
        "vllm:num_requests_running{" + 'a="b",' * (MAX_TEXT // 6),
        ("vllm:" * 1000 + "\n") * (MAX_TEXT // 5000),
        line * (2 * MAX_TEXT // len(line)),
    ]
    began = time.perf_counter()
    found = [parse_metrics(text) for text in hostile]
    assert time.perf_counter() - began < 5
    assert found[:3] == [{}, {}, {}]


def test_tokens_a_second_between_readings() -> None:
    first = next_reading({"tokens_in": 1000, "tokens_out": 100}, 50.0, {})
    assert "tokens_in_s" not in first
    second = next_reading({"tokens_in": 3000, "tokens_out": 150}, 60.0, first)
    assert (second["tokens_in_s"], second["tokens_out_s"]) == (200, 5)


def test_a_server_that_started_again_counts_from_zero() -> None:
    reading = next_reading({"tokens_out": 40}, 20.0, {"tokens_out": 900, "at": 10.0})
    assert reading["tokens_out_s"] == 4


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1e9), st.floats(0, 1e9))
def test_rates_are_never_negative_or_infinite(before: int, after: int, then: float, now: float) -> None:
    reading = next_reading({"tokens_in": after}, now, {"tokens_in": before, "at": then})
    assert 0 <= reading.get("tokens_in_s", 0) < math.inf


def test_the_history_is_a_ring() -> None:
    status = Status()
    for second in range(HISTORY + 10):
        status.take(next_reading({"running": float(second), "prefix_hits": 1.0}, float(second), status.metrics))
    assert len(status.history) == HISTORY
    assert [status.history[0]["at"], status.history[-1]["at"], status.metrics["at"]] == [9, HISTORY + 8, HISTORY + 9]
    assert set(status.history[0]) == {"at", "running"}
