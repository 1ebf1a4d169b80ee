"""`manage.py create_run`: freeze a configuration over a set of questions."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.config import ConfigError, RunConfig, load_config, parse_config
from apps.pipeline.run_commands import find_run, refuse
from apps.pipeline.services import RunError, create_run
from apps.questions.access import default_project
from apps.reasoning.selectors import run_counters


class Command(BaseCommand):
    help = "Make a run. With a name alone: all trainable canonical questions, on simulated models."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--config", type=Path, help="a TOML file; see docs/run.example.toml")
        parser.add_argument("--limit", type=int, help="take only the first N questions")
        parser.add_argument("--paths-from", metavar="RUN", help="judge the paths of another run or import")
        parser.add_argument(
            "--allow-held-out", action="store_true", help="take test questions too; exports will say so"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        paths_from = find_run(options["paths_from"]) if options["paths_from"] else None
        try:
            config = load_config(options["config"]) if options["config"] else parse_config({})
            if options["limit"] is not None:
                config = _limited(config, options["limit"])
            run = create_run(
                project=default_project(),
                name=options["name"],
                config=config,
                paths_from=paths_from,
                allow_held_out=options["allow_held_out"],
            )
        except (ConfigError, RunError) as error:
            refuse(str(error))
        if options["json"]:
            self.stdout.write(json.dumps({"run": run.name}))
            return
        questions = run_counters(run).get("questions", 0)
        self.stdout.write(f"Run {run.name}: {questions:,} questions. Start it with: manage.py run_pipeline {run.name}")


def _limited(config: RunConfig, limit: int) -> RunConfig:
    if limit < 1:
        raise ConfigError("--limit: at least 1")
    return config.model_copy(update={"questions": config.questions.model_copy(update={"limit": limit})})
