"""`manage.py import_paths FILE --name N --generators a,b,c`: paths in the interchange form, as an imported run."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from apps.pipeline.path_import import PathImportRefused, PathImportReport, import_paths
from apps.questions.access import default_project

_SHOWN_PROBLEMS = 20
DONE, ROWS_SKIPPED, REFUSED = 0, 1, 2


class Command(BaseCommand):
    help = (
        "Import paths that exist already: JSON array or JSON Lines of question, options, answer, "
        "model1_COT1 … model3_COT3 (plain or gzip). Their questions must be imported first. "
        "Judge them with create_run --paths-from."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--name", required=True, help="the new run's name")
        parser.add_argument(
            "--generators", required=True, type=_names, metavar="A,B,C", help="short names of model1, model2, …"
        )
        parser.add_argument(
            "--temperatures", type=_numbers, metavar="0.7,0.9,1.0", help="of COT1, COT2, …; unknown if left out"
        )
        parser.add_argument(
            "--models", type=_names, default=(), metavar="M1,M2,M3", help="the models' full names, where they differ"
        )
        parser.add_argument(
            "--skip-bad-rows", action="store_true", help="import the good rows, and rows that lack some of their paths"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        report = self._import(options)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            self._print(report)
        if code := REFUSED if report.refused else ROWS_SKIPPED if report.problems else DONE:
            sys.exit(code)

    def _import(self, options: dict[str, Any]) -> PathImportReport:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        path: Path = options["file"]
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(path.name, total=None)
            try:
                return import_paths(
                    path=path,
                    project=default_project(),
                    on_progress=lambda done, size, rows: progress.update(
                        task, completed=done, total=size, description=f"{path.name} {rows:,} rows"
                    ),
                    **{k: options[k] for k in ("name", "generators", "temperatures", "models", "skip_bad_rows")},
                )
            except PathImportRefused as refusal:
                return refusal.report

    def _print(self, report: PathImportReport) -> None:
        outcome = (
            "refused, nothing imported"
            if report.refused
            else f"{report.paths:,} paths of {report.questions:,} questions as the run {report.run}; "
            f"{report.skipped:,} rows skipped"
        )
        self.stdout.write(f"{report.file}: {outcome}")
        for problem in report.problems[:_SHOWN_PROBLEMS]:
            place = f"line {problem.line}" if problem.line else "file"
            self.stdout.write(f"  {place}{f', {problem.field}' if problem.field else ''}: {problem.message}")
        if (more := len(report.problems) - _SHOWN_PROBLEMS + report.problems_left_out) > 0:
            self.stdout.write(f"  … and {more:,} more; --json lists the first 1,000")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ArgumentTypeError("a name is empty; separate names by single commas")
    return names


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: use numbers separated by commas") from error
