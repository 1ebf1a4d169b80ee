"""Stop the private PostgreSQL of this instance."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from reasonmed_site import file_lock, postgres


class Command(BaseCommand):
    help = "Stop the private PostgreSQL of this instance. The next command that needs it starts it again."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            stopped = postgres.stop(settings.VAR_DIR)
        except (postgres.PostgresError, file_lock.LockTimeout, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write("PostgreSQL stopped." if stopped else "PostgreSQL was not running.")
