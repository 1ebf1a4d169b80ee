"""`manage.py estimate_run`: what a run would take, from token statistics or from a pilot of a few questions."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.config import ConfigError, load_config, parse_config
from apps.pipeline.estimate import Estimate, estimate_run
from apps.pipeline.lanes import engine_lanes
from apps.pipeline.money import money_of
from apps.pipeline.money_words import in_words
from apps.pipeline.pilot import Outlook, make_pilot, outlook_of
from apps.pipeline.run_commands import find_run, refuse
from apps.pipeline.services import RunError, choose_questions, pick_questions, start_run
from apps.questions.access import default_project
from apps.reasoning.models import Run, RunState
from apps.reasoning.words import stage_word


class Command(BaseCommand):
    help = (
        "Say what a run of this configuration would take: calls, tokens and money. --pilot N tries N questions first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--config", type=Path, help="a TOML file; see docs/run.example.toml")
        parser.add_argument("--name", help="of the run to be; the pilot is NAME-pilot. Default: the file's name")
        parser.add_argument("--pilot", type=int, nargs="?", const=20, metavar="N", help="questions to try (20)")
        parser.add_argument("--paths-from", metavar="RUN", help="judge the paths of another run or import")
        parser.add_argument("--allow-held-out", action="store_true", help="take test questions too")

    def handle(self, *args: Any, **options: Any) -> None:
        paths_from = find_run(options["paths_from"]) if options["paths_from"] else None
        project = default_project()
        try:
            config = load_config(options["config"]) if options["config"] else parse_config({})
            chosen = choose_questions(
                project=project, config=config, paths_from=paths_from, allow_held_out=options["allow_held_out"]
            )
            picked = pick_questions(chosen, config)
            made = estimate_run(project=project, config=config, picked=picked, paths_from=paths_from)
            if not made.questions:
                refuse("No question matches: import questions first, or widen the configuration's filter.")
            self.stdout.write("\n".join(lines_of(made)))
            if options["pilot"] is None:
                return
            if lanes := engine_lanes(config):
                refuse(
                    f"{', '.join(lanes)}: only run_engine works on these lanes. Name another endpoint for the pilot."
                )
            name = options["name"] or (options["config"].stem if options["config"] else "run")
            pilot = make_pilot(
                project=project,
                name=f"{name}-pilot",
                config=config,
                questions=options["pilot"],
                paths_from=paths_from,
                allow_held_out=options["allow_held_out"],
            )
            self._work_off(pilot)
        except (ConfigError, RunError) as error:
            refuse(str(error))
        self.stdout.write("")
        self.stdout.write("\n".join(outlook_lines(pilot, outlook_of(pilot, questions=made.questions))))

    def _work_off(self, pilot: Run) -> None:
        """With a worker of its own; a pilot that is finished already is not worked on again."""
        from workers.embedded import embedded_worker
        from workers.management.commands.run_pipeline import watch

        if pilot.state != RunState.FINISHED:
            start_run(run=pilot)
            interrupted = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: interrupted.set())
            with embedded_worker():
                watch(pilot, interrupted)
            pilot.refresh_from_db()
            if interrupted.is_set():
                self.stderr.write(f"{pilot.name} goes on where it stopped when this is asked again.")
                sys.exit(130)
        if pilot.state == RunState.PAUSED and money_of(pilot).short:
            refuse(
                f"The budget ended {pilot.name} before it was finished. Raise it with manage.py set_budget {pilot.name}"
                " --hard X, then ask again."
            )


def lines_of(made: Estimate) -> list[str]:
    """A table by stage and model, then where each figure is from."""

    def words(amount: Any) -> str:
        return in_words(amount, made.currency)

    head = f"{'stage':<12} {'model':<36} {'calls':>11} {'at most':>11} {'low':>12} {'expected':>12} {'at most':>13}"
    rows = [f"{made.questions:,} questions; calls before any is repeated", "", head]
    for line in made.lines:
        cost = "    no price"
        if line.cost:
            cost = f"{words(line.cost.low):>12} {words(line.cost.expected):>12} {words(line.cost.most):>13}"
        name = stage_word(line.stage)
        rows.append(f"{name:<12} {line.model[:36]:<36} {line.calls.expected:>11,} {line.calls.most:>11,} {cost}")
    total = f"{'all':<12} {'':<36} {made.calls.expected:>11,} {made.calls.most:>11,}"
    if made.cost:
        total += f" {words(made.cost.low):>12} {words(made.cost.expected):>12} {words(made.cost.most):>13}"
    rows += [total, "", "Where the figures come from"]
    rows += [f"- {row.what}: {row.figure} ({row.source})" for row in made.sources]
    return rows


def outlook_lines(pilot: Run, outlook: Outlook) -> list[str]:
    def words(amount: Any) -> str:
        return in_words(amount, outlook.currency)

    told = Counter(outlook.tiers)
    tiers = ", ".join(f"{n} {tier or 'without a tier'}" for tier, n in told.most_common())
    rows = [
        f"Pilot {pilot.name}: {outlook.piloted} questions ({tiers}), {outlook.calls:,} calls",
        f"For {outlook.questions:,} questions, repeated attempts included:",
        f"  calls       about {outlook.all_calls:,}",
        f"  tokens in   about {outlook.all_tokens_in:,}",
        f"  tokens out  about {outlook.all_tokens_out:,}",
    ]
    if outlook.cost is None:
        return [*rows, "  cost        no price is set for any of its models, so the pilot tells of none"]
    rows.append(
        f"  cost        about {words(outlook.cost.expected)}; 95 %: {words(outlook.cost.low)} to {words(outlook.cost.high)}"
        f" ({words(outlook.per_question)} a question)"
    )
    if outlook.unpriced:
        rows.append(f"  no price is set for {', '.join(outlook.unpriced)}: their calls cost nothing in this")
    if outlook.unfinished:
        rows.append(f"  {outlook.unfinished} questions of the pilot still wait: what they lack is not in these figures")
    if not told["difficult"]:
        rows.append("  no question of the pilot was difficult: the dearest kind is not in these figures")
    return rows
