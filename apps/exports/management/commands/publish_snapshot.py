"""`publish_snapshot CANDIDATE NAME`: a candidate becomes a snapshot, under a name that no other one ever has."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.errors import ExportRefusedError
from apps.exports.publishing import publish_snapshot
from apps.exports.selectors import snapshot_called
from apps.questions.access import default_project

REFUSED = 2


class Command(BaseCommand):
    help = "Publish a candidate: it gets a name for ever, and can neither be deleted nor built again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("candidate", metavar="CANDIDATE", help="as the list of exports names it: <run>.<number>")
        parser.add_argument("name", metavar="NAME", help="its name from now on, as reasonmed-2026.1")

    def handle(self, *args: Any, candidate: str, name: str, **options: Any) -> None:
        found = snapshot_called(default_project(), candidate)
        if found is None:
            raise CommandError(f"No export is named {candidate!r}.", returncode=REFUSED)
        try:
            publish_snapshot(snapshot=found, name=name, by=None)
        except ExportRefusedError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        self.stdout.write(f"{candidate} is published as {found.name}: {found.records:,} records, a set")
