"""`check_ledger` over the whole run: how long, how much memory, and that it finds no drift."""

from __future__ import annotations

import resource
import time
from typing import Any

from apps.reasoning.ledger_check import check_run
from apps.reasoning.models import Run
from tests.bench.full.fill import RUN


def measure_ledger() -> list[dict[str, Any]]:
    """[{name, s, cpu_s, mib, note}]; `mib` is the most memory this process ever held."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = Run.objects.get(name=RUN)
    begun, worked = time.perf_counter(), time.process_time()
    found = check_run(run)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    drift = f"drift {len(found)}" + (f", the first: {found[0]}" if found else "")
    return [
        {
            "name": "check_ledger", "s": round(seconds, 1), "cpu_s": round(cpu, 1), "mib": peak // 1024,
            "note": f"{drift}; {run.questions.count():,} questions; {base // 1024} MiB before",
        }
    ]  # fmt: skip
