"""`manage.py certificate_study`: ten thousand simulated studies of each kind, as a table."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.exports.certificate.study import REPETITIONS, cases, simulate, table

BEGIN, END = "<!-- certificate_study: begin -->", "<!-- certificate_study: end -->"


class Command(BaseCommand):
    help = "Simulate studies and tell how often a certificate says less than is true."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--repetitions", type=int, default=REPETITIONS, help=f"studies of each kind ({REPETITIONS:,})"
        )
        parser.add_argument("--write", action="store_true", help="put the table into docs/certificate.md")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = []
        for case in cases():
            rows.append((case, simulate(case, repetitions=options["repetitions"])))
            self.stderr.write(case.words)
        made = table(rows)
        if not options["write"]:
            self.stdout.write(made)
            return
        path = Path(settings.BASE_DIR) / "docs" / "certificate.md"
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise CommandError(f"{path} has no place for the table: {BEGIN} … {END}.")
        path.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")
