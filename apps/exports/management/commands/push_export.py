"""`push_export NAME hub OWNER/NAME` and `push_export NAME s3 BUCKET/PREFIX`: a published snapshot leaves for good."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.errors import ExportRefusedError
from apps.exports.push.checked import pushable
from apps.exports.push.hub import push_to_hub
from apps.exports.push.s3 import push_to_s3
from apps.questions.access import default_project

REFUSED = 2


class Command(BaseCommand):
    help = (
        "Push a published snapshot to a Hugging Face hub or an S3-compatible store. Credentials: from the environment."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="of the published snapshot, as reasonmed-2026.1")
        parser.add_argument("kind", choices=("hub", "s3"), help="where to")
        parser.add_argument("place", metavar="PLACE", help="OWNER/NAME on the hub, BUCKET/PREFIX in the store")
        parser.add_argument("--private", action="store_true", help="hub: make the repository private where it is new")
        parser.add_argument("--endpoint", default="", metavar="URL", help="s3: of a store that is not AWS")

    def handle(self, *args: Any, name: str, kind: str, place: str, **options: Any) -> None:
        try:
            export = pushable(default_project(), name)
            if kind == "hub":
                self.stdout.write(push_to_hub(export, repository=place, private=options["private"]))
                return
            bucket, _, prefix = place.partition("/")
            prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
            written, there = push_to_s3(export, bucket=bucket, prefix=prefix, endpoint=options["endpoint"])
            self.stdout.write(f"s3://{bucket}/{prefix}: {written} files written, {there} were there already")
        except ExportRefusedError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
