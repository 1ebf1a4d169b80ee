"""`manage.py cancel_run RUN`."""

from __future__ import annotations

from apps.pipeline.run_commands import MoveCommand
from apps.pipeline.services import cancel_run


class Command(MoveCommand):
    help = "Cancel a run for good: what was made stays readable, nothing more is made."
    move = staticmethod(cancel_run)
