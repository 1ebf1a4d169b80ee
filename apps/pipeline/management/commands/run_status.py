"""`manage.py run_status RUN`: where a run stands."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.run_commands import find_run
from apps.reasoning.selectors import run_status


class Command(BaseCommand):
    help = "Where a run stands: state, tiers, what is ready, excluded and waiting, calls and cost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        status = run_status(find_run(options["run"]))
        if options["json"]:
            self.stdout.write(json.dumps(status))
            return
        for key, value in status.items():
            text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
            self.stdout.write(f"{key:<15} {text or 'none'}")
