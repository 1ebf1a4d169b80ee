"""`quality_report RUN [--json]`: what the quality gates find in the records that would leave."""

from __future__ import annotations

import json as json_text
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.gates.report import check_run
from apps.exports.gates.stored import result_of
from apps.exports.gates.texts import GATE_WORDS, GATES
from apps.questions.access import default_project
from apps.reasoning.models import Run

REFUSED = 2


class Command(BaseCommand):
    help = "Check every record of a run: language, length, refusals, cut texts, leaked prompts, loops, tags, answers, twins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="name of the run")
        parser.add_argument("--json", action="store_true", help="print counts and samples as one JSON object")

    def handle(self, *args: Any, run: str, json: bool, **options: Any) -> None:
        found = Run.objects.filter(project=default_project(), name=run).first()
        if found is None:
            raise CommandError(f"No run is named {run!r}.", returncode=REFUSED)
        report = check_run(found)
        if json:
            self.stdout.write(json_text.dumps({"run": run, **result_of(report)}, ensure_ascii=False))
            return
        self.stdout.write(f"{run}: {report.records:,} records, {report.flagged:,} with a finding")
        for gate in GATES:
            if n := report.counts[gate]:
                self.stdout.write(f"{n:>9,}  {GATE_WORDS[gate]} ({gate})")
                for sample in report.samples[gate]:
                    finding = sample.finding
                    where = f"sentence {finding.sentence}" if finding.sentence else "whole text"
                    self.stdout.write(
                        f"           {sample.uid} slot {sample.slot}, {finding.part}, {where}: {finding.excerpt!r}"
                    )
