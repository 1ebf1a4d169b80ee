"""Making a queue: the plan is drawn, gold is mixed in, the items are written in the order in which they are handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import connection, transaction

from apps.questions.access import CLINICIAN, ROLES
from apps.reasoning.models import Label, Run
from apps.review.models import QueueItem, QueueState, ReviewQueue
from apps.review.queues import frames
from apps.review.queues.drawing import Draw, draw_plan
from apps.review.queues.errors import QueueError
from apps.review.queues.measured import as_measured
from apps.review.queues.plans import PlanError, SamplingPlan, gold_places, mix

PRACTICE_OVERLAP = 30_000  # everyone does all of it
MANY = (
    10_000  # items at once: PostgreSQL is told of them, since until its autovacuum comes round each save reads them all
)


@dataclass(frozen=True, slots=True)
class Gold:
    """A path whose right label is known, and why it is right, in words for the person who learns from it."""

    path: int
    label: str
    reason: str = ""


@transaction.atomic
def build_queue(
    *,
    run: Run,
    name: str,
    plan: SamplingPlan,
    by: User | None = None,
    overlap: int = 1,
    blind: bool = True,
    counts: bool = True,
    feedback: bool = False,
    practice: bool = False,
    role: str = CLINICIAN,
    reviewers: Sequence[User] = (),
    gold: Sequence[Gold] = (),
) -> ReviewQueue:
    """A queue of `run`'s paths. `role` and `reviewers` may work in it; gold items never count, nor does practice.

    Without `gold` given, the plan's share of gold comes from what people settled in the project (`settled_gold`).
    Practice: the gold given is the queue, everyone gets all of it. Raises PlanError, QueueError.
    """
    name, plan = name.strip(), as_measured(run, plan)
    if not name or len(name) > 100:
        raise QueueError("Give the queue a name of at most 100 characters.", field="name")
    if ReviewQueue.objects.filter(project=run.project_id, name=name).exists():
        raise QueueError(f"There is a queue named {name!r} already. Choose another name.", field="name")
    if role not in ("", *ROLES) or not (role or reviewers):
        raise QueueError("Say who may work in it: a role, or people by name.", field="role")
    if not 1 <= overlap <= PRACTICE_OVERLAP:
        raise QueueError("overlap: at least one person judges each item.", field="overlap")
    queue = ReviewQueue.objects.create(
        project=run.project,
        run=run,
        name=name,
        plan=plan.model_dump(mode="json"),
        overlap=PRACTICE_OVERLAP if practice else overlap,
        blind=blind,
        counts=counts and not practice,
        feedback=feedback or practice,
        practice=practice,
        role=role,
        created_by=by,
    )
    queue.reviewers.set(reviewers)
    known = _usable_gold(run, plan, gold)
    queue.size = _write_practice(queue, known) if practice else _write_items(queue, plan, draw_plan(run, plan), known)
    if not queue.size:
        raise PlanError("No path fits this plan. Widen the filter, or choose another kind.")
    queue.save(update_fields=["size"])
    if queue.size >= MANY:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE review_queueitem")
    return queue


def set_queue_state(*, queue: ReviewQueue, state: str) -> None:
    """Open, pause or close it; a paused queue still takes what is on people's screens, a closed one nothing."""
    queue.state = QueueState(state)
    queue.save(update_fields=["state"])


def settled_gold(run: Run, *, most: int = 10_000) -> list[Gold]:
    """Paths that were adjudicated, or on which two people or more agree and none differs."""
    rows = _fetch(
        """
        SELECT l.path_id, coalesce(max(v.label) FILTER (WHERE v.source = 'adjudication'), max(v.label)),
          coalesce(max(v.reason) FILTER (WHERE v.source = 'adjudication'), max(v.reason))
        FROM reasoning_pathlabel l
        JOIN reasoning_verdict v ON v.path_id = l.path_id AND v.project_id = %s AND v.source <> 'judge' AND v.current
          AND v.counts AND v.label <> 'unjudged'
        WHERE l.run_id = %s AND l.overridden
        GROUP BY l.path_id
        HAVING bool_or(v.source = 'adjudication') OR (count(*) >= 2 AND count(DISTINCT v.label) = 1)
        ORDER BY l.path_id LIMIT %s""",
        [run.project_id, run.pk, most],
    )
    return [Gold(path, label, reason) for path, label, reason in rows]


def _usable_gold(run: Run, plan: SamplingPlan, gold: Sequence[Gold]) -> list[Gold]:
    if not gold and plan.gold_share:
        gold = settled_gold(run)
        if not gold:
            raise PlanError("gold_share: nothing is settled yet; adjudicate some paths first, or give gold labels")
    if wrong := [g for g in gold if g.label not in (Label.CORRECT, Label.ERROR)]:
        raise PlanError(f"gold: path {wrong[0].path} needs the label correct or error")
    known = frames.questions_of_paths(run, [g.path for g in gold])
    if missing := [g.path for g in gold if g.path not in known]:
        raise PlanError(f"gold: {missing[0]} is no current path of this run, or its question is set aside")
    return list(gold)


_PLAIN = """
INSERT INTO review_queueitem (queue_id, path_id, question_id, position, stratum, inclusion_probability, priority,
  gold_label, gold_reason, taken, done, set_aside, open)
SELECT %(queue)s, path_id, question_id, place + width_bucket(place, %(bounds)s::bigint[]), left(stratum, 120),
  probability, priority, '', '', 0, 0, false, true
FROM review_draw ORDER BY place"""


def _write_items(queue: ReviewQueue, plan: SamplingPlan, drawn: Draw, gold: Sequence[Gold]) -> int:
    """The drawn paths in their order with gold among them, written by the database; how many."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE review_draw ON COMMIT DROP AS {drawn.sql}", drawn.parameters)
        plain: int = cursor.rowcount
        cursor.execute("SELECT path_id FROM review_draw WHERE path_id = ANY(%s)", [[g.path for g in gold]])
        twice = {path for (path,) in cursor.fetchall()}
        known = sorted((g for g in gold if g.path not in twice), key=lambda g: mix(plan.seed, "gold", g.path))
        places = gold_places(plain, len(known), share=plan.gold_share, seed=plan.seed)
        # the n-th plain path stands behind every gold one whose place less its rank is below n
        bounds = [place - rank + 1 for rank, place in enumerate(places, start=1)]
        cursor.execute(_PLAIN, {"queue": queue.pk, "bounds": bounds})
        cursor.execute("DROP TABLE review_draw")
    _write_gold(queue, dict(zip(places, known, strict=False)))
    return plain + len(places)


def _write_practice(queue: ReviewQueue, gold: Sequence[Gold]) -> int:
    _write_gold(queue, dict(enumerate(gold, start=1)))
    return len(gold)


def _write_gold(queue: ReviewQueue, placed: Mapping[int, Gold]) -> None:
    questions = frames.questions_of_paths(queue.run, [gold.path for gold in placed.values()])
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                queue=queue,
                path_id=gold.path,
                question_id=questions[gold.path],
                position=position,
                stratum="gold",
                gold_label=gold.label,
                gold_reason=gold.reason,
            )
            for position, gold in placed.items()
        ],
        batch_size=2_000,
    )


def _fetch(sql: str, parameters: list[int]) -> list[tuple[int, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[int, str, str]] = cursor.fetchall()
        return rows
