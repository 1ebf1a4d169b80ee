"""Two queues over the sample run, so that the review pages have something to judge."""

from __future__ import annotations

from apps.reasoning.models import Run
from apps.review.models import ReviewQueue
from apps.review.queues.build import build_queue
from apps.review.queues.plans import SamplingPlan

QUEUES: dict[str, tuple[SamplingPlan, bool]] = {
    "How good is the judge?": (SamplingPlan(kind="random", size=40), False),
    "Close to a cut-off": (SamplingPlan(kind="tier_flip", size=10), True),
}
"""name: (plan, whether its verdicts count)"""


def ensure_queues(run: Run) -> list[ReviewQueue]:
    """Made once, when the run has something to judge; a queue of that name is left as it is. The newest comes first."""
    there = set(ReviewQueue.objects.filter(project=run.project_id).values_list("name", flat=True))
    return [
        build_queue(run=run, name=name, plan=plan, counts=counts)
        for name, (plan, counts) in QUEUES.items()
        if name not in there
    ]
