"""`manage.py set_budget RUN`: what a run may cost."""

from __future__ import annotations

from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.budget import set_budget
from apps.pipeline.money import money_of
from apps.pipeline.money_words import in_words
from apps.pipeline.run_commands import find_run, refuse
from apps.reasoning.models import RunState


class Command(BaseCommand):
    help = "Set the budget of a run, in the currency of its prices. What is not said stays as it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--hard", metavar="X", help="the run is paused before it costs more")
        parser.add_argument("--soft", metavar="Y", help="pages warn when it has cost so much")
        parser.add_argument("--none", action="store_true", help="neither: without --hard and --soft")

    def handle(self, *args: Any, **options: Any) -> None:
        said = {name: options[name] for name in ("hard", "soft") if options[name] is not None}
        if bool(said) == options["none"]:
            refuse("Say --hard X, --soft Y or both; or --none to take the budget away.")
        run = find_run(options["run"])
        if run.config.get("imported"):
            refuse(f"{run.name!r} holds imported paths: it makes no calls and has no budget.")
        before = money_of(run)
        limits = {"hard": None, "soft": None} if options["none"] else {"hard": before.hard, "soft": before.soft}
        try:
            limits |= {name: amount(name, text) for name, text in said.items()}
            set_budget(run=run, hard=limits["hard"], soft=limits["soft"])
        except ValueError as error:
            refuse(str(error))
        now = money_of(run)
        told = [
            f"{word} {in_words(value, now.currency) if value is not None else 'none'}"
            for word, value in (("hard", now.hard), ("soft", now.soft))
        ]
        self.stdout.write(f"{run.name}: {', '.join(told)}; spent {in_words(now.spent, now.currency)}")
        if run.state == RunState.PAUSED:
            self.stdout.write(f"It is paused. Go on with: manage.py run_pipeline {run.name}")


def amount(name: str, text: str) -> Decimal:
    """Raises ValueError."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{name}: {text!r} is no amount") from error
    if not value.is_finite() or value >= Decimal("1e10") or value != round(value, 4):
        raise ValueError(f"{name}: below 10,000,000,000, with four decimal places at most")
    return value
