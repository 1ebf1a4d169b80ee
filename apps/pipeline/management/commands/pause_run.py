"""`manage.py pause_run RUN`."""

from __future__ import annotations

from apps.pipeline.run_commands import MoveCommand
from apps.pipeline.services import pause_run


class Command(MoveCommand):
    help = "Pause a run: calls in flight are finished and kept, no new one is sent."
    move = staticmethod(pause_run)
