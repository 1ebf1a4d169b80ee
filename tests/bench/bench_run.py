"""A whole run against a bare loop that makes as many calls to the same simulated models, side by side.

Own instance (database, simulator process, one `run_pipeline` process or several of `run_workers` over Redis). The bare loop
is an aiohttp client in as many processes: the same stages in the same numbers, prompts and paths taken from the ledger,
replies read and dropped. Twice: with as many calls in flight at each server as the run may have, which is what a lab's
servers take; and with as many in all at whichever server, as if one of them took them. Neither waits for anything: a run
judges a path when it is written. Run alone: `python -m tests.bench.bench_run`.
"""

from __future__ import annotations

import asyncio
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

QUESTIONS = (
    960  # the last questions go through seven lanes one after the other: some seconds that a long run does not notice
)
ROUNDS = 1
SETTINGS = ((1, 0), (2, 0), (2, 50), (2, 200))  # (processes, ms a reply)
IN_FLIGHT = 64  # at one model server, as in a run
LOOK_S = 0.25  # between two looks whether the run has ended
DURATION = """
SELECT extract(epoch FROM max(created_at + latency_ms * interval '1 millisecond') - min(created_at)) FROM pipeline_call
"""
START = "from apps.pipeline.services import start_run; from apps.reasoning.models import Run; start_run(run=Run.objects.get())"
TICKS = os.sysconf("SC_CLK_TCK")


def run(questions: int = QUESTIONS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """[{name, value, unit, note}, …]; medians of the rounds, for each of the SETTINGS."""
    return [line for workers, ms in SETTINGS for line in _setting(questions, rounds, workers, ms)]


def _setting(questions: int, rounds: int, workers: int, latency_ms: int) -> list[dict[str, Any]]:
    measured = [_one_round(questions, workers, latency_ms) for _round in range(rounds)]
    median = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
    calls = median["calls"]
    how = f"{workers} process{'' if workers == 1 else 'es'}, {latency_ms} ms a reply"
    size = f"{questions} questions, {calls:,.0f} calls, {rounds} round{'' if rounds == 1 else 's'}"
    return [
        _line(f"run: {how}", calls / median["run_s"], "calls/s", size),
        _line(
            "bare loop", calls / median["bare_s"], "calls/s", f"same calls, nothing kept, {IN_FLIGHT} at each server"
        ),
        _line("**run / bare loop**", median["bare_s"] / median["run_s"], "ratio", "target ≥ 0.5"),
        _line("loose loop", calls / median["loose_s"], "calls/s", "the same, as many in all at whichever server"),
        _line("run / loose loop", median["loose_s"] / median["run_s"], "ratio", ""),
        _line("calls to the busiest server", 100 * median["busiest"], "%", "of all"),
        _line("CPU of the workers", 1000 * median["run_cpu"] / calls, "ms/call", "their start left out"),
        _line("CPU of PostgreSQL", 1000 * median["db_cpu"] / calls, "ms/call", "all its processes"),
        _line("CPU of the bare loop", 1000 * median["bare_cpu"] / calls, "ms/call", ""),
        _line("CPU of the simulated models", 1000 * median["sim_cpu"] / calls, "ms/call", "during the run"),
    ]


def _one_round(questions: int, workers: int, latency_ms: int) -> dict[str, float]:
    from tests.faults.instance import Instance, free_port
    from tests.faults.test_brokers import kill_group, start_redis

    with tempfile.TemporaryDirectory(prefix="bench-run-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        port = free_port()
        redis = start_redis(Path(folder), port) if workers > 1 else None
        if redis is not None:
            stack.callback(kill_group, redis)
        broker = f"redis://127.0.0.1:{port}/0" if redis is not None else ""
        instance = stack.enter_context(Instance(Path(folder) / "var", DRAMATIQ_BROKER_URL=broker))
        source = Path(folder) / "anatomy_val.csv"
        _write_questions(source, questions)
        instance.manage("import_questions", "mmlu", str(source), "--split", "val", "--subject", "anatomy")
        instance.start_simulator("--latency-ms", str(latency_ms))
        simulator = instance.processes[-1].pid
        measured = _work(instance, simulator, workers)
        bodies = _bodies(instance)
        assert sum(map(len, bodies)) == measured["calls"]
        url = instance.env["REASONMED_SIMULATOR_URL"]
        loose_s, _cpu = _bare(url, [[body for server in bodies for body in server]], workers, len(bodies) * IN_FLIGHT)
        bare_s, bare_cpu = _bare(url, bodies, workers, IN_FLIGHT)
        busiest = max(map(len, bodies)) / measured["calls"]
        return measured | {"bare_s": bare_s, "bare_cpu": bare_cpu, "loose_s": loose_s, "busiest": busiest}


def _work(instance: Any, simulator: int, workers: int) -> dict[str, float]:
    """The run, by workers that are up before it begins."""
    from tests.faults.instance import wait_for

    instance.manage("create_run", "--name", "bench")
    started = [instance.start("run_workers", REASONMED_WORKER=f"worker-{n + 1}") for n in range(workers)]
    wait_for(lambda: instance.log("run_workers").count("Worker ready.") == workers, "the workers")
    pids = [worker.pid for worker in started]
    before = [sum(map(_cpu_s, pids)), _cpu_s(simulator), _tree_cpu_s(instance.postmaster().pid)]
    instance.manage("shell", "-c", START)
    _wait_for_the_end(instance)
    after = [sum(map(_cpu_s, pids)), _cpu_s(simulator), _tree_cpu_s(instance.postmaster().pid)]
    for worker in started:
        worker.terminate()
        assert worker.wait(60) == 0, instance.log("run_workers")
    run_cpu, sim_cpu, db_cpu = (now - then for now, then in zip(after, before, strict=True))
    return {
        "calls": instance.count("SELECT count(*) FROM pipeline_call"),
        "run_s": float(instance.query(DURATION)[0][0]),
        "run_cpu": run_cpu,
        "sim_cpu": sim_cpu,
        "db_cpu": db_cpu,
    }


def _wait_for_the_end(instance: Any) -> None:
    """By one connection: a new one for each look is a twentieth of what PostgreSQL does for the run."""
    import psycopg

    from reasonmed_site import postgres

    with psycopg.connect(postgres.url(instance.var), autocommit=True) as connection:
        while not connection.execute("SELECT 1 FROM reasoning_run WHERE state = 'finished'").fetchone():
            time.sleep(LOOK_S)


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


def _bodies(instance: Any) -> list[list[bytes]]:
    """For each server one request a call of the run, in the order made: its stage's prompt over its question and one of its
    paths."""
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
    bodies: defaultdict[str, list[bytes]] = defaultdict(list)
    calls = instance.query(
        "SELECT endpoint, stage, question_id, model, seed, params FROM pipeline_call ORDER BY created_at, id"
    )
    for server, stage, pk, model, seed, params in calls:
        question, key = texts[pk]
        user = f"<question>\n{question}\n</question>\n"
        if stage != "generate":
            user += f"<key>{key}</key>\n<path>\n{paths[pk]}\n</path>\n"
        messages = [{"role": "system", "content": systems[stage]}, {"role": "user", "content": user}]
        bodies[server].append(orjson.dumps({"model": model, "messages": messages, "seed": seed, **params}))
    return list(bodies.values())


def _bare(url: str, bodies: list[list[bytes]], processes: int, in_flight: int) -> tuple[float, float]:
    """Wall and CPU seconds of the loop, in so many new processes; `in_flight`: of each list of bodies, in all of them."""
    with tempfile.TemporaryDirectory(prefix="bench-bare-") as folder:
        words = [sys.executable, "-m", "tests.bench.bench_run", "--bare", url, str(in_flight // processes)]
        started = []
        for part in range(processes):
            paths = [Path(folder) / f"{part}-{server}" for server in range(len(bodies))]
            for path, own in zip(paths, bodies, strict=True):
                path.write_bytes(b"\n".join(own[part::processes]))
            started.append(subprocess.Popen([*words, *map(str, paths)], stdout=subprocess.PIPE, text=True))
        said = [process.communicate()[0].split() for process in started]
        begun, ended, cpu = zip(*([float(word) for word in words] for words in said), strict=True)
    return max(ended) - min(begun), sum(cpu)


async def _bare_loop(url: str, in_flight: int, bodies: list[list[bytes]]) -> tuple[float, float, float]:
    """Begin and end on the clock that processes share, and CPU seconds."""
    import aiohttp

    headers = {"Content-Type": "application/json"}

    async def caller(session: aiohttp.ClientSession, left: deque[bytes]) -> None:
        while left:
            async with session.post(f"{url}/chat/completions", data=left.popleft(), headers=headers) as reply:
                found = orjson.loads(await reply.read())
                assert reply.status == 200, found

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(caller(session, left) for left in map(deque, bodies) for _ in range(in_flight)))
        return begun, time.monotonic(), time.process_time() - cpu


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
        bodies = [Path(path).read_bytes().split(b"\n") for path in sys.argv[4:]]
        print(*asyncio.run(_bare_loop(sys.argv[2], int(sys.argv[3]), bodies)))
        return
    from tests.bench.__main__ import prepare_django, table

    prepare_django()
    print(table("Run", run()))


if __name__ == "__main__":
    main()
