"""`manage.py composition`: the published table's rows with our counts."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from apps.questions.selectors import CompositionRow, composition


class Command(BaseCommand):
    help = "How many questions of the published table are here, before and after duplicates are linked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        found = composition()
        if options["json"]:
            self.stdout.write(json.dumps(found.as_json()))
            return
        console = Console(width=None if sys.stdout.isatty() else 110)
        console.print(_table("Questions of the published table", [*found.rows, found.total()]))
        console.print(_table("Held out", found.held_out))
        if found.other:
            console.print(_table("Beside the published table", found.other))


def _table(title: str, rows: list[CompositionRow]) -> Table:
    table = Table("benchmark", "split", "subject", title=title, title_justify="left", box=SIMPLE)
    for name in ("published", "imported", "canonical"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in rows:
        published = "–" if row.published is None else f"{row.published:,}"
        table.add_row(
            row.benchmark, row.split, row.subject, published, f"{row.imported:,}", f"{row.canonical:,}", row.note
        )
    return table
