"""`quality_report RUN [--json] [--save]`: what the quality gates find in the records that would leave."""

from __future__ import annotations

import json as json_text
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.errors import ExportRefusedError, LedgerBrokenError
from apps.exports.gates.report import check_run
from apps.exports.gates.stored import result_of
from apps.exports.gates.texts import GATE_WORDS, GATES
from apps.exports.inspections.services import make_now, order_inspection
from apps.questions.access import default_project
from apps.reasoning.models import Run

REFUSED = 2


class Command(BaseCommand):
    help = "Check every record of a run: language, length, refusals, cut texts, leaked prompts, loops, tags, answers, twins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="name of the run")
        parser.add_argument("--json", action="store_true", help="print counts and samples as one JSON object")
        parser.add_argument("--save", action="store_true", help="keep the result: the run's page of quality shows it")

    def handle(self, *args: Any, run: str, json: bool, save: bool, **options: Any) -> None:
        found = Run.objects.select_related("project").filter(project=default_project(), name=run).first()
        if found is None:
            raise CommandError(f"No run is named {run!r}.", returncode=REFUSED)
        try:
            result = self.look(found, save=save)
        except (ExportRefusedError, LedgerBrokenError) as error:
            raise CommandError(str(error), returncode=1) from error
        if json:
            self.stdout.write(json_text.dumps({"run": run, **result}, ensure_ascii=False))
        else:
            self.report(run, result)

    def look(self, run: Run, *, save: bool) -> dict[str, Any]:
        if not save:
            return result_of(check_run(run))
        kept: dict[str, Any] = make_now(order_inspection(project=run.project, kind="gates", run=run)).result
        return kept

    def report(self, run: str, result: dict[str, Any]) -> None:
        self.stdout.write(f"{run}: {result['records']:,} records, {result['flagged']:,} with a finding")
        for gate in GATES:
            found = result["gates"][gate]
            if found["records"]:
                self.stdout.write(f"{found['records']:>9,}  {GATE_WORDS[gate]} ({gate})")
            for sample in found["samples"]:
                finding = sample["finding"]
                where = f"sentence {finding['sentence']}" if finding["sentence"] else "whole text"
                self.stdout.write(
                    f"           {sample['uid']} slot {sample['slot']}, {finding['part']}, {where}: {finding['excerpt']!r}"
                )
