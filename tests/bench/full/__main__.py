"""`python -m tests.bench.full`: fill two databases, one of the full size and its small twin, and measure on both.

Writes the section "The full size" of docs/benchmarks.md, and every figure as JSON beside the databases. Each part is
measured by a process of its own and kept as soon as it is there; one that fails is said at the end, the rest stays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PARTS = ("review", "pages", "making", "ledger", "leasing", "export", "soak")
ONCE = ("leasing", "soak")  # measured at the full size alone
FULL, SMALL = 194_925, 2_000


def main() -> None:
    given = arguments()
    from tests.bench.__main__ import prepare_django

    prepare_django()

    from tests.bench.full.database import drop_database, open_database, use_database
    from tests.bench.full.fill import said

    if given.part:  # in a process of its own: for one size
        use_database(f"bench_full_{given.questions}")
        print(json.dumps(measure(given)))
        return
    sizes = (given.small, given.questions)
    with said():
        spent = {size: open_database(size, fresh=given.fresh) for size in sizes}
    failed = measure_all(given, sizes, spent)
    if given.drop:
        for size in sizes:
            drop_database(size)
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}. What they said stands above.")


def measure_all(given: argparse.Namespace, sizes: tuple[int, int], spent: dict[int, float]) -> list[str]:
    """Every part at both sizes; the page and the JSON are written after each. Returns what failed."""
    from django.conf import settings

    from tests.bench.full import report

    kept = Path(settings.VAR_DIR) / "bench_full.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not given.fresh else {}
    failed: list[str] = []
    for size in sizes:
        figures = found.setdefault(str(size), {})
        figures |= report.sizes(f"bench_full_{size}") | ({"fill_s": round(spent[size])} if spent[size] else {})
    for part in given.parts:
        for size in sizes[1:] if part in ONCE else sizes:
            try:
                measured = in_process(part, size, given)
            except subprocess.CalledProcessError as error:
                failed.append(f"{part} at {size:,} (exit code {error.returncode})")
                continue
            if given.only:
                print(json.dumps(measured, indent=1))
                continue
            found[str(size)][part] = measured
            kept.write_text(json.dumps(found, indent=1))
            if sizes == (SMALL, FULL):  # the page speaks of these
                report.write(found, given.small, given.questions)
    return failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.full", description=__doc__)
    parser.add_argument("--questions", type=int, default=FULL)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--fresh", action="store_true", help="fill anew, even where a filled database is there")
    parser.add_argument("--drop", action="store_true", help="drop both databases at the end")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--only", default="", help="pages whose name holds this; prints, writes nothing")
    parser.add_argument("--requests", type=int, default=40, help="of each page")
    parser.add_argument(
        "--soak-s", type=float, default=600.0, help="seconds that the run whose memory is watched may take"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def in_process(part: str, size: int, given: argparse.Namespace) -> Any:
    """Measured in a new process, so that one part's memory and caches do not reach the next."""
    words = [sys.executable, "-m", "tests.bench.full", "--part", part, "--questions", str(size)]
    words += ["--only", given.only, "--requests", str(given.requests), "--soak-s", str(given.soak_s)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.bench.full import export, leasing, ledger, making, measure, pages, review, soak

    rows = {
        "making": making.measure_making,
        "ledger": ledger.measure_ledger,
        "leasing": leasing.measure_leasing,
        "export": export.measure_exports,
        "soak": lambda: soak.measure_soak(most_s=given.soak_s),
    }
    if given.part in rows:
        return rows[given.part]()
    with measure.quiet():
        timings = (
            review.measure_review(given.requests)
            if given.part == "review"
            else pages.measure_pages(given.only, given.requests)
        )
    return [timing.as_json() for timing in timings]


if __name__ == "__main__":
    main()
