"""Memory of each process while a large run is at work: PostgreSQL, the worker, the simulated models, sampled as they go.

An instance of its own with a real worker over simulated models without latency, ended after `most_s` seconds.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

QUESTIONS = 20_000
MOST_S = 600.0
EVERY_S = 2.0
FLAT = 1.1  # the last third's mean over the middle third's
Row = dict[str, Any]


def measure_soak(questions: int = QUESTIONS, most_s: float = MOST_S) -> list[Row]:
    """[{name, first, middle, last, peak, flat, note}, …] in MiB: means of the thirds of the time, and the most."""
    from tests.bench.bench_run import _write_questions
    from tests.faults.instance import Instance

    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        Path(folder).chmod(0o755)
        with Instance(Path(folder) / "var") as instance:
            source = Path(folder) / "anatomy_val.csv"
            _write_questions(source, questions)
            instance.manage("import_questions", "mmlu", str(source), "--split", "val", "--subject", "anatomy")
            instance.start_simulator()
            simulator = psutil.Process(instance.processes[-1].pid)
            instance.manage("create_run", "--name", "soak")
            worker = instance.start("run_pipeline", "soak")
            watched = {
                "worker": psutil.Process(worker.pid),
                "simulated models": simulator,
                "PostgreSQL": instance.postmaster(),
            }
            samples: dict[str, list[float]] = {name: [] for name in watched}
            begun = time.monotonic()
            while worker.poll() is None and time.monotonic() - begun < most_s:
                time.sleep(EVERY_S)
                for name, process in watched.items():
                    samples[name].append(_mib(process))
            seconds = time.monotonic() - begun
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
                worker.wait(60)
            calls = instance.count("SELECT count(*) FROM pipeline_call")
    note = f"{calls:,} calls in {seconds:.0f} s, {calls / seconds:,.0f}/s; {questions:,} questions"
    return [_row(name, values) | {"note": note} for name, values in samples.items()]


def _mib(process: psutil.Process) -> float:
    """Of a process and its children: shared pages are counted once, by halves and thirds of those who share them."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass  # a backend that ended meanwhile
    return total / 1024**2


def _row(name: str, values: Sequence[float]) -> Row:
    """Values settle in the first third: caches and pools fill."""
    third = max(len(values) // 3, 1)
    first, middle, last = values[:third], values[third : 2 * third], values[2 * third :]
    means = [round(mean(part or values)) for part in (first, middle, last)]
    return {
        "name": name, "first": means[0], "middle": means[1], "last": means[2], "peak": round(max(values)),
        "flat": means[2] <= FLAT * means[1],
    }  # fmt: skip
