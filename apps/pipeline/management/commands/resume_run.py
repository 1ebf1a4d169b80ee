"""`manage.py resume_run RUN`."""

from __future__ import annotations

from apps.pipeline.run_commands import MoveCommand
from apps.pipeline.services import resume_run


class Command(MoveCommand):
    help = "Resume a paused run; a worker that is running takes it up at once."
    move = staticmethod(resume_run)
