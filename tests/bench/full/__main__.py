"""`python -m tests.bench.full`: fill two databases, one of the full size and its small twin, and measure on both.

Writes the section "The full size" of docs/benchmarks.md, and every figure as JSON beside the databases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PARTS = ("review", "pages", "making")
FULL, SMALL = 194_925, 2_000


def main() -> None:
    given = arguments()
    from tests.bench.__main__ import prepare_django

    prepare_django()
    from django.conf import settings

    from tests.bench.full import report
    from tests.bench.full.database import drop_database, open_database, use_database
    from tests.bench.full.fill import said

    if given.part:  # in a process of its own: for one size
        use_database(f"bench_full_{given.questions}")
        print(json.dumps(measure(given)))
        return
    sizes = (given.small, given.questions)
    with said():
        spent = {size: open_database(size, fresh=given.fresh) for size in sizes}
    kept = Path(settings.VAR_DIR) / "bench_full.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() and not given.fresh else {}
    for size in sizes:
        figures = found.setdefault(str(size), {})
        figures |= report.sizes(f"bench_full_{size}") | ({"fill_s": round(spent[size])} if spent[size] else {})
        for part in given.parts:
            figures[part] = in_process(part, size, given)
            if given.only:
                print(json.dumps(figures[part], indent=1))
    if not given.only:
        kept.write_text(json.dumps(found, indent=1))
        if sizes == (SMALL, FULL):  # the page speaks of these
            report.write(found, given.small, given.questions)
    if given.drop:
        for size in sizes:
            drop_database(size)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.full", description=__doc__)
    parser.add_argument("--questions", type=int, default=FULL)
    parser.add_argument("--small", type=int, default=SMALL)
    parser.add_argument("--fresh", action="store_true", help="fill anew, even where a filled database is there")
    parser.add_argument("--drop", action="store_true", help="drop both databases at the end")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--only", default="", help="pages whose name holds this; prints, writes nothing")
    parser.add_argument("--requests", type=int, default=40, help="of each page")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def in_process(part: str, size: int, given: argparse.Namespace) -> Any:
    """Measured in a new process, so that one part's memory and caches do not reach the next."""
    words = [sys.executable, "-m", "tests.bench.full", "--part", part, "--questions", str(size)]
    words += ["--only", given.only, "--requests", str(given.requests)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.bench.full import making, measure, pages, review

    if given.part == "making":
        return making.measure_making()
    with measure.quiet():
        timings = (
            review.measure_review(given.requests)
            if given.part == "review"
            else pages.measure_pages(given.only, given.requests)
        )
    return [timing.as_json() for timing in timings]


if __name__ == "__main__":
    main()
