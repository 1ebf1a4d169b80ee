"""`python -m tests.bench [--questions N]`: all benchmarks; writes docs/benchmarks.md with this machine's figures."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import psutil

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
FULL_SIZE = "## The full size"  # the section that tests.bench.full writes
INTRODUCTION = """\
# Benchmarks

Measured by `{command}`, which wrote this page.

- Machine: {cpus} CPUs ({model}), {memory:.0f} GiB of memory, {system}, Python {python}. Load average when it
  began: {load:.1f}; other work on the machine slows both sides of a ratio, so compare ratios rather than rates.
- What is simulated: the models. They answer over HTTP on this machine, from templates (at once, or after the time that a
  table names); no GPU and no real model takes part, so these figures tell the workbench's own cost, not how fast a run
  over real models is. A simulated server shares the CPUs with the worker, PostgreSQL and the bare loop.
- What is real: PostgreSQL {postgres} with fsync, started for the benchmark; the worker (`run_pipeline`), a process of its own.

"""

LANES = """\
One client after the other, each a process of its own. The openai package's client is what most scripts use; a lane is
one of the workbench's pumps on a real PostgreSQL, with every path and every Call committed before its task is done.
The target is five times the stock client with {target} calls in flight.

"""
VLLM = """\
## On a real vLLM

Its CPU build with a tiny random Llama (`tests/engine`): real scheduling, prefix cache and HTTP, no real weights, so the
rates mean nothing by themselves. The hit rate follows from the order of the prompt's parts and holds for any model with
this block size; each side counts its own tokens.

"""
GPU = """\
## On a GPU

Not measured: no GPU was at hand. Nothing above depends on one. With a 7B-shaped model and dummy weights served by
`vllm serve … --load-format dummy`, `python -m tests.bench.bench_vllm --url … --model …` makes the table above.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--questions", type=int, help="of the run")
    parser.add_argument("--rounds", type=int, help="of the run")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    prepare_django()
    from tests.bench import bench_import, bench_lanes, bench_run, bench_vllm

    words = "".join(f" --{name} {value}" for name, value in given.items())
    introduction = _introduction(f"python -m tests.bench{words}", os.getloadavg()[0])
    lanes = (
        "## Lanes and clients\n\n" + LANES.format(target=bench_lanes.IN_FLIGHT) + bench_lanes.table(bench_lanes.run())
    )
    run, imported = table("Run", bench_run.run(**given)), table("Import", bench_import.run())
    vllm = bench_vllm.measure()
    engine = VLLM + (table("vLLM", vllm) if vllm else "Not measured: vLLM was not set up (`make engine-setup`).\n")
    parts = [lanes, f"## A whole run\n\n{run}", f"## Import\n\n{imported}", engine, GPU]
    PAGE.parent.mkdir(exist_ok=True)
    kept = PAGE.read_text(encoding="utf-8").partition(FULL_SIZE)[1:] if PAGE.exists() else ()
    if any(kept):  # what `make bench-full` wrote
        parts.append("".join(kept))
    PAGE.write_text(introduction + "\n".join(parts), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def prepare_django() -> None:
    """Settings and the instance's database, as a command of manage.py has them."""
    import django

    from reasonmed_site import launch

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reasonmed_site.settings")
    launch.prepare(["bench", "migrate"])
    django.setup()


def table(title: str, lines: list[dict[str, Any]]) -> str:
    rows = "".join("| {name} | {value:,} | {unit} | {note} |\n".format(**line) for line in lines)
    return f"| {title} | Value | Unit | Note |\n|---|---:|---|---|\n{rows}"


def _introduction(command: str, load: float) -> str:
    from django.db import connection

    connection.ensure_connection()
    return INTRODUCTION.format(
        command=command,
        cpus=os.cpu_count(),
        model=_cpu_model(),
        memory=psutil.virtual_memory().total / 1024**3,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        load=load,
        postgres=connection.pg_version // 10_000,  # type: ignore[attr-defined]
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
