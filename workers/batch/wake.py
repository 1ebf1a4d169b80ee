"""Which lanes have work for a Batch API."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from apps.pipeline.config import RunConfig
from apps.pipeline.lanes import lanes_of
from apps.pipeline.models import BatchJob, BatchState, PumpLease, Task, TaskState
from apps.reasoning.models import Run, RunState

SLOT = 90  # of the batch pump, beside the ordinary pumps of a lane that other runs use without batches
OPEN = (BatchState.PREPARED, BatchState.SUBMITTED)


def batch_lanes_with_work() -> list[str]:
    """Lanes with a batch away, or with tasks for one, that no batch pump looks after."""
    lanes = set(BatchJob.objects.filter(state__in=OPEN).values_list("lane", flat=True))
    for run in Run.objects.filter(state=RunState.RUNNING, config__contains={"endpoints": [{"transport": "batch"}]}):
        config = RunConfig.model_validate(run.config)
        for lane in lanes_of(config):
            if lane not in lanes and is_batch(config, lane) and _ready(lane).filter(run=run).exists():
                lanes.add(lane)
    pumped = PumpLease.objects.filter(slot=SLOT, expires_at__gt=Now()).values_list("lane", flat=True)
    return sorted(lanes.difference(pumped))


def is_batch(config: RunConfig, lane: str) -> bool:
    return config.endpoint(lane.partition("@")[2]).transport == "batch"


def ready_tasks(lane: str) -> dict[int, int]:
    """How many tasks of the lane each running run has ready for a batch."""
    endpoint = {"name": lane.partition("@")[2], "transport": "batch"}
    runs = Run.objects.filter(state=RunState.RUNNING, config__contains={"endpoints": [endpoint]})
    return dict(_ready(lane).filter(run__in=runs).values_list("run").annotate(n=Count("id")).order_by("run"))


def _ready(lane: str) -> QuerySet[Task]:
    due = Q(not_before=None) | Q(not_before__lte=Now())
    return Task.objects.filter(due, lane=lane, state=TaskState.READY)
