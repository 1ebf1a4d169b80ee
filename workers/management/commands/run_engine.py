"""`manage.py run_engine`: a worker for endpoints with `transport = "engine"`, run by a Python that has vLLM."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = 'Serve the lanes of endpoints with transport = "engine" by vLLM in this process, until stopped.'

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--endpoint", action="append", default=[], metavar="NAME", help="only this one; repeatable")
        parser.add_argument(
            "--until-finished", action="store_true", help="end when no running run has such a lane any more"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.backends.vllm_engine import EngineError
        from workers.engine_worker import EngineWorker
        from workers.serving.command import ServeError

        if find_spec("vllm") is None:
            raise CommandError("This Python has no vLLM. docs/engine.md tells how to get one that has.", returncode=2)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        worker = EngineWorker(frozenset(options["endpoint"]), stop, lambda words: self.stderr.write(words))
        self.stderr.write("Engine worker ready.")
        try:
            worker.run(until_finished=options["until_finished"])
        except (EngineError, ServeError) as error:
            raise CommandError(str(error), returncode=2) from error
