"""Memory of each process while a large run is at work and people look at its pages, sampled as they go.

An instance of its own: PostgreSQL, a real worker over simulated models without latency, and the web server, which is asked
for four pages at each sample. Ended after `most_s` seconds, or when the run is.
"""

from __future__ import annotations

import signal
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

QUESTIONS = 20_000
MOST_S = 600.0
EVERY_S = 2.0
FLAT = 1.1  # the last tenth of the second half over its first tenth
MIB = 1024**2
Row = dict[str, Any]
Usage = dict[str, float]

LOOKED_AT = ("/", "/runs/1/", "/questions/", "/paths/")
ENTER = """
from django.test import Client
from tests.factories import make_user
client = Client()
client.force_login(make_user("curator", username="soak"))
print(client.cookies["sessionid"].value)
"""


def measure_soak(questions: int = QUESTIONS, most_s: float = MOST_S) -> list[Row]:
    """[{name, first, middle, last, peak, growth, flat, note}, …] in MiB: means of the thirds of the time, the most, and the
    growth over the second half."""
    from tests.bench.bench_run import _write_questions
    from tests.faults.instance import Instance
    from tests.faults.test_review import Web

    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        Path(folder).chmod(0o755)
        with Instance(Path(folder) / "var") as instance:
            source = Path(folder) / "anatomy_val.csv"
            _write_questions(source, questions)
            instance.manage("import_questions", "mmlu", str(source), "--split", "val", "--subject", "anatomy")
            instance.start_simulator()
            simulator = psutil.Process(instance.processes[-1].pid)
            instance.manage("create_run", "--name", "soak")
            session = instance.manage("shell", "-c", ENTER).splitlines()[-1]
            web = Web(instance)
            web.start()
            assert web.process is not None
            worker = instance.start("run_pipeline", "soak")
            watched = {
                "worker": psutil.Process(worker.pid),
                "web": psutil.Process(web.process.pid),
                "PostgreSQL": instance.postmaster(),
                "simulated models": simulator,
            }
            samples: list[Usage] = []
            looked = 0
            begun = time.monotonic()
            try:
                while worker.poll() is None and time.monotonic() - begun < most_s:
                    time.sleep(EVERY_S)
                    looked += look(web.port, session)
                    used = sample(watched)
                    if worker.poll() is None:
                        samples.append(used)
            finally:
                seconds = time.monotonic() - begun
                web.kill()
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
                    worker.wait(60)
            calls = instance.count("SELECT count(*) FROM pipeline_call")
    note = f"{calls:,} calls in {seconds:.0f} s, {calls / seconds:,.0f}/s; {questions:,} questions; {looked:,} pages looked at"
    return [row(name, [one[name] for one in samples]) | {"note": note} for name in samples[0]]


def look(port: int, session: str) -> int:
    """How many pages were answered; those that are not there yet while the web server starts do not count."""
    answered = 0
    for address in LOOKED_AT:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{address}", headers={"Cookie": f"sessionid={session}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                answered += bool(reply.read()) and reply.status == 200
        except OSError:
            continue
    return answered


def sample(watched: dict[str, psutil.Process]) -> Usage:
    """Of each process with its children, and of the PostgreSQL connection with most of its own, that."""
    usage: Usage = {}
    for name, process in watched.items():
        infos = [info for info in map(memory_of, (process, *children_of(process))) if info is not None]
        usage[name] = sum(info.pss for info in infos) / MIB
        if name == "PostgreSQL":
            own = [info.uss for child in process.children() if (info := memory_of(child)) and serves(child)]
            usage["its largest connection, own memory"] = max(own, default=0) / MIB
    return usage


def serves(process: psutil.Process) -> bool:
    """A client's backend, by its title; not one that cleans up in the background, with memory of its own for that."""
    try:
        return "[local]" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def memory_of(process: psutil.Process) -> Any:
    """Shared pages are counted by halves and thirds of those who share them (pss); uss leaves them out."""
    try:
        return process.memory_full_info()
    except psutil.NoSuchProcess:
        return None  # it ended meanwhile


def row(name: str, values: Sequence[float]) -> Row:
    """Values settle in the first half: caches and pools fill."""
    third, tenth = max(len(values) // 3, 1), max(len(values) // 20, 1)
    middle = len(values) // 2
    thirds = [round(mean(part or values)) for part in (values[:third], values[third : 2 * third], values[2 * third :])]
    before, after = mean(values[middle : middle + tenth]), mean(values[-tenth:])
    return {
        "name": name, "first": thirds[0], "middle": thirds[1], "last": thirds[2], "peak": round(max(values)),
        "growth": round(after - before, 1), "flat": after <= FLAT * before,
    }  # fmt: skip
