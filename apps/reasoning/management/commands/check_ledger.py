"""check_ledger [RUN] [--json]: recompute labels, tiers, states and counts, and report every drift."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.reasoning.ledger_check import check_run
from apps.reasoning.ledger_fetch import Drift
from apps.reasoning.models import Run


class Command(BaseCommand):
    help = "Recompute what runs store from the paths and verdicts. Exit code: 0 no drift, 1 drift, 2 no such run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", nargs="?", metavar="RUN", help="name of a run; all runs without it")
        parser.add_argument("--json", action="store_true", help='print {"drift": n, "details": […]}')

    def handle(self, *args: Any, **options: Any) -> None:
        runs = Run.objects.select_related("project").order_by("pk")
        if options["run"]:
            runs = runs.filter(name=options["run"])
            if not runs:
                raise CommandError(f"No run is named {options['run']!r}.", returncode=2)
        found: list[Drift] = []
        for run in runs:
            found += self.check_one(run)
        self.report(found, as_json=options["json"])
        if found:
            raise SystemExit(1)

    def check_one(self, run: Run) -> list[Drift]:
        def show(questions: int) -> None:
            self.stderr.write(f"{run.name}: {questions:,} questions checked")

        return check_run(run, progress=show)

    def report(self, found: list[Drift], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"drift": len(found), "details": [d.as_json() for d in found]}))
            return
        for drift in found:
            self.stdout.write(str(drift))
        self.stdout.write(f"{len(found)} drift{'' if len(found) == 1 else 's'}")
