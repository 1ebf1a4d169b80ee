"""`manage.py run_status RUN`: where a run stands."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from apps.pipeline.money import RunMoney, money_of, money_status
from apps.pipeline.money_words import in_words
from apps.pipeline.run_commands import find_run
from apps.reasoning.selectors import run_status


class Command(BaseCommand):
    help = "Where a run stands: state, tiers, what is ready, excluded and waiting, calls and cost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        run = find_run(options["run"])
        status = run_status(run)
        if options["json"]:
            self.stdout.write(json.dumps(status | {"money": money_status(run)}, cls=DjangoJSONEncoder))
            return
        for key, value in status.items():
            text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
            self.stdout.write(f"{key:<15} {text or 'none'}")
        for key, text in money_lines(money_of(run)):
            self.stdout.write(f"{key:<15} {text}")


def money_lines(now: RunMoney) -> list[tuple[str, str]]:
    def words(amount: Any) -> str:
        return "none" if amount is None else in_words(amount, now.currency)

    if not now.priced:
        return [("money", "no price is set for any of its models")]
    lines = [
        ("by stage", ", ".join(f"{s.stage} {words(s.spent)}" for s in now.stages if s.spent) or "nothing yet"),
        ("wasted", f"{words(now.wasted)}, of which unknown {words(now.unknown)}"),
        ("reserved", words(now.reserved)),
        ("budget", f"hard {words(now.hard)}, soft {words(now.soft)}"),
    ]
    if now.to_finish:
        lines.append(("to finish", f"about {words(now.to_finish.expected)}"))
    if now.unpriced:
        lines.append(("no price", ", ".join(now.unpriced)))
    if now.short:
        lines.append(
            ("stopped", f"the next call can cost up to {words(now.short_of)}, {words(now.missing)} more than is left")
        )
    return lines
