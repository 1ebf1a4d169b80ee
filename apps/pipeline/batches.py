"""A run's batches at a Batch API, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, IntegerField, Value, When

from apps.pipeline.models import BatchJob, BatchState
from apps.reasoning.models import Run
from apps.reasoning.words import stage_word

SHOWN = 12
STATES = {  # kind of chip, picture, words
    BatchState.PREPARED: ("warn", "pause", "Not sent yet"),
    BatchState.SUBMITTED: ("live", "play", "Away"),
    BatchState.TAKEN: ("plain", "check", "Taken"),
    BatchState.FAILED: ("plain", "cross", "Not taken"),
}


@dataclass(frozen=True, slots=True)
class BatchRow:
    job: BatchJob
    stage: str
    endpoint: str
    chip: tuple[str, str, str]


def batch_rows(run: Run) -> list[BatchRow]:
    """Those that are open first, then the newest; at most SHOWN."""
    closed = Case(
        When(state__in=(BatchState.PREPARED, BatchState.SUBMITTED), then=Value(0)),
        default=Value(1),
        output_field=IntegerField(),
    )
    rows = []
    for job in BatchJob.objects.filter(run=run).order_by(closed, "-created_at")[:SHOWN]:
        stage, _, endpoint = job.lane.partition("@")
        rows.append(BatchRow(job, stage_word(stage), endpoint, STATES[BatchState(job.state)]))
    return rows
