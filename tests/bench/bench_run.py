"""A whole run against a bare loop that makes as many calls to the same simulated models, side by side.

Own instance (database, simulator process without latency, a `run_pipeline` process). The bare loop is an aiohttp client
in a process of its own: the same stages in the same numbers, prompts and paths taken from the ledger, as many calls
in flight, replies read and dropped. Run alone: `python -m tests.bench.bench_run`.
"""

from __future__ import annotations

import asyncio
import csv
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import orjson

QUESTIONS = 240
ROUNDS = 1
IN_FLIGHT = 256  # four model servers of 64 each are busy at once in a run
DURATION = """
SELECT extract(epoch FROM max(created_at + latency_ms * interval '1 millisecond') - min(created_at)) FROM pipeline_call
"""
TICKS = os.sysconf("SC_CLK_TCK")


def run(questions: int = QUESTIONS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """[{name, value, unit, note}, …]; medians of the rounds."""
    measured = [_one_round(questions) for _round in range(rounds)]
    median = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
    size = f"{questions} questions, {median['calls']:,.0f} calls, {rounds} round{'' if rounds == 1 else 's'}"
    return [
        _line("run", median["calls"] / median["run_s"], "calls/s", size),
        _line("bare loop", median["calls"] / median["bare_s"], "calls/s", "same calls, nothing kept"),
        _line("run / bare loop", median["bare_s"] / median["run_s"], "ratio", "rate of the run over the bare loop's"),
        _line(
            "CPU of the worker", 1000 * median["run_cpu"] / median["calls"], "ms/call", "run_pipeline, its start too"
        ),
        _line("CPU of PostgreSQL", 1000 * median["db_cpu"] / median["calls"], "ms/call", "all its processes"),
        _line("CPU of the bare loop", 1000 * median["bare_cpu"] / median["calls"], "ms/call", ""),
        _line("CPU of the simulated models", 1000 * median["sim_cpu"] / median["calls"], "ms/call", "during the run"),
    ]


def _one_round(questions: int) -> dict[str, float]:
    from tests.faults.instance import Instance

    with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
        Path(folder).chmod(0o755)
        with Instance(Path(folder) / "var") as instance:
            source = Path(folder) / "anatomy_val.csv"
            _write_questions(source, questions)
            instance.manage("import_questions", "mmlu", str(source), "--split", "val", "--subject", "anatomy")
            instance.start_simulator()
            simulator = instance.processes[-1].pid
            instance.manage("create_run", "--name", "bench")
            sim_before, db_before = _cpu_s(simulator), _tree_cpu_s(instance.postmaster().pid)
            worker = instance.start("run_pipeline", "bench")
            _pid, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
            assert worker.returncode == 0, instance.log("run_pipeline")
            sim_after, db_after = _cpu_s(simulator), _tree_cpu_s(instance.postmaster().pid)
            calls = instance.count("SELECT count(*) FROM pipeline_call")
            seconds = instance.query(DURATION)
            bodies = _bodies(instance)
            assert len(bodies) == calls
            bare_s, bare_cpu = _bare(instance.env["REASONMED_SIMULATOR_URL"], bodies)
    return {
        "calls": calls,
        "run_s": float(seconds[0][0]),
        "run_cpu": usage.ru_utime + usage.ru_stime,
        "sim_cpu": sim_after - sim_before,
        "db_cpu": db_after - db_before,
        "bare_s": bare_s,
        "bare_cpu": bare_cpu,
    }


def _write_questions(path: Path, questions: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number in range(questions):
            age, day = 20 + number % 60, number // 60 + 1
            stem = (
                f"A {age}-year-old patient, case {number}, reports pain on day {day} after a fall, without fever. The "
                f"pulse is {60 + number % 50} and imaging shows no fracture. Which structure is most likely injured?"
            )
            options = [f"{side} structure {number} of the {part}" for side, part in _STRUCTURES]
            writer.writerow([stem, *options, "ABCD"[number % 4]])


_STRUCTURES = (("Anterior", "knee"), ("Posterior", "hip"), ("Medial", "ankle"), ("Lateral", "shoulder"))


def _bodies(instance: Any) -> list[bytes]:
    """One request a call of the run, in the order made: its stage's prompt over its question and one of its paths."""
    from apps.pipeline.prompts import load_prompts
    from apps.questions.text import LETTERS, join_question

    systems = {name: prompt.system for name, prompt in load_prompts().items()} | {
        "reverify": load_prompts()["verify"].system
    }
    texts: dict[int, tuple[str, str]] = {}
    for pk, contexts, stem, options, key in instance.query(
        "SELECT id, contexts, stem, options, key FROM questions_question"
    ):
        texts[pk] = join_question(contexts, stem, options), f"{LETTERS[key]}. {options[key]}"
    paths = dict(instance.query("SELECT DISTINCT ON (question_id) question_id, text FROM reasoning_reasoningpath"))
    bodies = []
    calls = instance.query("SELECT stage, question_id, model, seed, params FROM pipeline_call ORDER BY created_at, id")
    for stage, pk, model, seed, params in calls:
        question, key = texts[pk]
        user = f"<question>\n{question}\n</question>\n"
        if stage != "generate":
            user += f"<key>{key}</key>\n<path>\n{paths[pk]}\n</path>\n"
        messages = [{"role": "system", "content": systems[stage]}, {"role": "user", "content": user}]
        bodies.append(orjson.dumps({"model": model, "messages": messages, "seed": seed, **params}))
    return bodies


def _bare(url: str, bodies: list[bytes]) -> tuple[float, float]:
    """Wall and CPU seconds of the loop in a new process."""
    import subprocess

    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\n".join(bodies))
        file.flush()
        words = [sys.executable, "-m", "tests.bench.bench_run", "--bare", url, file.name]
        wall, cpu = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return float(wall), float(cpu)


async def _bare_loop(url: str, bodies: list[bytes]) -> tuple[float, float]:
    import aiohttp

    left = deque(bodies)
    headers = {"Content-Type": "application/json"}

    async def caller(session: aiohttp.ClientSession) -> None:
        while left:
            async with session.post(f"{url}/chat/completions", data=left.popleft(), headers=headers) as reply:
                found = orjson.loads(await reply.read())
                assert reply.status == 200, found

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller(session) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - begun, time.process_time() - cpu


def _cpu_s(pid: int) -> float:
    """User and system seconds of a process and of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def _tree_cpu_s(pid: int) -> float:
    import psutil

    total = _cpu_s(pid)
    for child in psutil.Process(pid).children(recursive=True):
        try:
            total += _cpu_s(child.pid)
        except OSError:
            continue
    return total


def _line(name: str, value: float, unit: str, note: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3 if unit == "ratio" else 2), "unit": unit, "note": note}


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        bodies = Path(sys.argv[3]).read_bytes().split(b"\n")
        print(*asyncio.run(_bare_loop(sys.argv[2], bodies)))
        return
    from tests.bench.__main__ import prepare_django, table

    prepare_django()
    print(table("Run", run()))


if __name__ == "__main__":
    main()
