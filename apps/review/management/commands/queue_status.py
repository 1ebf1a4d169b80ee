"""`manage.py queue_status [NAME]`: where queues stand."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from apps.pipeline.run_commands import refuse
from apps.questions.access import default_project
from apps.review.models import ReviewQueue
from apps.review.queues.selectors import queue_progress


class Command(BaseCommand):
    help = "Where a queue stands, or all of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        queues = ReviewQueue.objects.filter(project=default_project()).select_related("run").order_by("pk")
        chosen = list(queues.filter(name=options["name"]) if options["name"] else queues)
        if not chosen and options["name"]:
            known = ", ".join(queues.values_list("name", flat=True)[:10])
            refuse(f"There is no queue named {options['name']!r}. Known: {known or 'none; make one with make_queue'}.")
        found = [{"queue": q.name, "run": q.run.name, "state": q.state} | asdict(queue_progress(q)) for q in chosen]
        if options["json"]:
            self.stdout.write(json.dumps(found, default=str))
            return
        for row in found:
            self.stdout.write(
                f"{row['queue']} ({row['run']}, {row['state']}): {row['judgments']:,} of {row['wanted']:,} judgments, "
                f"{row['finished']:,} of {row['size']:,} items finished, {row['live']:,} on screens, "
                f"{sum(row['skips'].values()):,} skipped, {row['set_aside']:,} set aside"
            )
        if not found:
            self.stdout.write("There is no queue yet. Make one: manage.py make_queue RUN --name N --plan random")
