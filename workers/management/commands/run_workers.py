"""`manage.py run_workers`: a worker that serves every running run and builds queued exports until it is stopped."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Serve all lanes of all running runs, and make the exports and inspections asked for on the pages, until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--threads", type=int, default=16, help="pumps at once (default 16)")
        parser.add_argument(
            "--no-exports",
            action="store_true",
            help="leave exports to workers that share a folder with the web server, as on any other host",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from apps.exports.certificate.signing import write_certificates
        from apps.exports.inspections.services import run_queued_inspections
        from apps.exports.services import build_queued_exports
        from workers.embedded import embedded_worker

        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        with embedded_worker(options["threads"]):
            self.stderr.write("Worker ready.")
            while not stop.wait(1):
                if options["no_exports"]:
                    continue
                close_old_connections()
                try:
                    build_queued_exports(should_stop=stop.is_set)
                    write_certificates()
                    run_queued_inspections(should_stop=stop.is_set)
                except Exception:
                    log.exception("exports: trying again")
