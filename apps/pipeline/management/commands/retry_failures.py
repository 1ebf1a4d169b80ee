"""`manage.py retry_failures RUN`: have outputs that were set aside tried again."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.failures import groups_aside
from apps.pipeline.retries import Preview, Selection, preview_retry, refuse_cancelled, retry_failures
from apps.pipeline.run_commands import find_run, refuse
from apps.pipeline.services import RunError
from apps.reasoning.models import Run


class Command(BaseCommand):
    help = (
        "Have outputs that were set aside tried again: one, those of a stage, endpoint or class, or all. "
        "With a run alone: lists what was set aside, and changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--stage", default="")
        parser.add_argument("--endpoint", default="")
        parser.add_argument("--class", default="", dest="error_class", metavar="CLASS", help="refused, schema, …")
        parser.add_argument("--id", type=int, nargs="+", default=[], dest="ids", metavar="N", help="of failures")
        parser.add_argument("--all", action="store_true")
        parser.add_argument("--dry-run", action="store_true", help="say what it would touch and may cost, and stop")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        run = find_run(options["run"])
        chosen = Selection(options["stage"], options["endpoint"], options["error_class"], tuple(options["ids"]))
        if options["all"] and not chosen.everything:
            refuse("--all takes everything: leave --stage, --endpoint, --class and --id out, or --all.")
        if chosen.everything and not options["all"]:
            self._list(run, as_json=options["json"])
            return
        try:
            refuse_cancelled(run)
            if options["dry_run"]:
                self._preview(preview_retry(run, chosen), as_json=options["json"])
                return
            done = retry_failures(run=run, by=None, **chosen.as_arguments())
        except RunError as error:
            refuse(str(error))
        self.stdout.write(json.dumps(asdict(done)) if options["json"] else f"{run.name}: {done}.")

    def _list(self, run: Run, *, as_json: bool) -> None:
        groups = groups_aside(run)
        if as_json:
            rows = [{**asdict(g.place), "outputs": g.count, "last_at": g.last_at.isoformat()} for g in groups]
            self.stdout.write(json.dumps(rows))
            return
        for group in groups:
            place = group.place
            self.stdout.write(f"{place.stage:<11} {place.endpoint:<20} {place.error_class:<11} {group.count:>9,}")
            self.stdout.write(f"  {place.words.meaning} {place.words.advice}")
        said = "Choose by --stage, --endpoint, --class or --id, or --all." if groups else "Nothing was set aside."
        self.stdout.write(said)

    def _preview(self, found: Preview, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(asdict(found), default=str))
            return
        cost = "nothing: no price is set" if found.cost is None else f"{found.cost:,.4f}"
        about = "about " if found.estimated else ""
        self.stdout.write(
            f"{found.failures:,} outputs of {found.questions:,} questions would be tried again; {found.ready:,} of the"
            f" questions are ready now and would wait. They may cost at most {about}{cost}."
        )
