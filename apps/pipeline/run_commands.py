"""What the commands about runs share: finding a run by name, refusing with exit code 2."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from apps.pipeline.services import RunError
from apps.questions.access import default_project
from apps.reasoning.models import Run


def refuse(message: str) -> NoReturn:
    """Say why on standard error and end with exit code 2."""
    print(message, file=sys.stderr)
    sys.exit(2)


def find_run(name: str) -> Run:
    run = Run.objects.filter(project=default_project(), name=name).first()
    if run is None:
        known = ", ".join(Run.objects.filter(project=default_project()).values_list("name", flat=True)[:10])
        refuse(f"There is no run named {name!r}. Known: {known or 'none; make one with create_run --name N'}.")
    return run


class MoveCommand(BaseCommand):
    """A command that moves a run to another state by the service in `move`."""

    move: Callable[..., None]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")

    def handle(self, *args: Any, **options: Any) -> None:
        run = find_run(options["run"])
        try:
            self.move(run=run)
        except RunError as error:
            refuse(str(error))
        self.stdout.write(f"{run.name}: {run.state}")
