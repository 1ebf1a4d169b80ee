"""`manage.py import_questions <benchmark> FILE… --split S`: published benchmark files into the ledger."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from apps.questions.importers import IMPORTERS, FileRefused, Problem
from apps.questions.importers.pubmedqa import read_held_out_ids
from apps.questions.models import Split
from apps.questions.services import ImportRefused, ImportReport, import_questions

_COUNTS = ("read", "created", "existing", "duplicates", "flagged", "skipped", "moved", "problems_left_out")
_SHOWN_PROBLEMS = 20
DONE, ROWS_SKIPPED, REFUSED = 0, 1, 2


class Command(BaseCommand):
    help = "Import questions from a benchmark's published files. Each file comes in whole or not at all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("benchmark", choices=tuple(IMPORTERS))
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="plain or gzip")
        parser.add_argument(
            "--split", default="", choices=Split.values, help="MMLU: taken from the file name if left out"
        )
        parser.add_argument("--subject", default="", help="MMLU: taken from the file name if left out")
        parser.add_argument(
            "--held-out-ids", type=Path, metavar="FILE", help="PubMedQA's test key (test_ground_truth.json)"
        )
        parser.add_argument(
            "--cop-base", type=int, choices=(0, 1), help="MedMCQA: what cop counts from, if the file does not tell"
        )
        parser.add_argument("--skip-bad-rows", action="store_true", help="import the good rows of a file with bad ones")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        reports = self._import_all(options)
        if options["json"]:
            self.stdout.write(json.dumps(_total(reports), ensure_ascii=False))
        else:
            self._print(reports)
        code = max(map(_exit_code, reports))
        if code:
            sys.exit(code)

    def _import_all(self, options: dict[str, Any]) -> list[ImportReport]:
        held_out_ids = None
        if key := options["held_out_ids"]:
            try:
                held_out_ids = read_held_out_ids(key)
            except FileRefused as refusal:
                problem = Problem(str(key), refusal.line, refusal.field, refusal.message)
                return [ImportReport(file=str(key), refused=True, problems=[problem])]
        with _progress() as progress:
            return [
                _import_one(
                    progress,
                    benchmark=options["benchmark"],
                    path=path,
                    split=options["split"],
                    subject=options["subject"],
                    held_out_ids=held_out_ids,
                    cop_base=options["cop_base"],
                    skip_bad_rows=options["skip_bad_rows"],
                )
                for path in options["files"]
            ]

    def _print(self, reports: list[ImportReport]) -> None:
        for report in reports:
            moved = f" ({report.moved:,} moved to the split or set now known)" if report.moved else ""
            flags = (
                f" ({', '.join(f'{name} {count:,}' for name, count in report.flags.items())})" if report.flags else ""
            )
            outcome = (
                f"refused, nothing imported ({report.read:,} rows read)"
                if report.refused
                else f"{report.read:,} read: {report.created:,} created, {report.existing:,} already there{moved}, "
                f"{report.skipped:,} skipped; of the created {report.duplicates:,} are duplicates, {report.flagged:,} flagged{flags}"
            )
            self.stdout.write(f"{report.file}: {outcome}")
            for problem in report.problems[:_SHOWN_PROBLEMS]:
                place = f"line {problem.line}" if problem.line else "file"
                self.stdout.write(f"  {place}{f', {problem.field}' if problem.field else ''}: {problem.message}")
            if (
                more := len(report.problems) - _SHOWN_PROBLEMS + report.problems_left_out
                if len(report.problems) > _SHOWN_PROBLEMS
                else 0
            ):
                self.stdout.write(f"  … and {more:,} more; --json lists the first 1,000")
            if report.bad_rows_only:
                self.stdout.write("  Correct these rows, or import the others with --skip-bad-rows.")


def _import_one(progress: Progress, *, path: Path, **arguments: Any) -> ImportReport:
    task: TaskID = progress.add_task(path.name, total=None)
    try:
        return import_questions(
            path=path,
            on_progress=lambda done, size, rows: progress.update(
                task, completed=done, total=size, description=f"{path.name} {rows:,} rows"
            ),
            **arguments,
        )
    except ImportRefused as refusal:
        return refusal.report


def _progress() -> Progress:
    """On standard error; a bar only where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _total(reports: list[ImportReport]) -> dict[str, Any]:
    """The counts of all files together, and each file's own under `files`."""
    each = [report.as_json() for report in reports]
    flags: Counter[str] = Counter()
    for report in reports:
        flags.update(report.flags)
    return {
        **{name: sum(one[name] for one in each) for name in _COUNTS},
        "refused": any(report.refused for report in reports),
        "flags": dict(flags),
        "problems": [problem for one in each for problem in one["problems"]],
        "files": [
            {"file": report.file, **{name: one[name] for name in (*_COUNTS, "refused")}}
            for report, one in zip(reports, each, strict=True)
        ],
    }


def _exit_code(report: ImportReport) -> int:
    if report.refused:
        return REFUSED
    return ROWS_SKIPPED if report.skipped else DONE
