"""Making a queue: the plan is drawn, gold is mixed in, the items are written in the order in which they are handed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from django.contrib.auth.models import User
from django.db import connection, transaction

from apps.questions.access import CLINICIAN, ROLES
from apps.reasoning.facts import policy_of
from apps.reasoning.models import Label, Run
from apps.review.models import QueueItem, QueueState, ReviewQueue
from apps.review.queues import frames
from apps.review.queues.errors import QueueError
from apps.review.queues.plans import (
    Drawn,
    PlanError,
    SamplingPlan,
    at_cut_off,
    draw,
    flip_value,
    mix,
    mix_gold,
)
from apps.review.statistics.tiers import true_error_distribution

PRACTICE_OVERLAP = 30_000  # everyone does all of it


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
    name = name.strip()
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
    items = [] if practice else draw_paths(run, plan)
    chosen = _mix_in(run, plan, items, _usable_gold(run, plan, gold), everything=practice)
    if not chosen:
        raise PlanError("No path fits this plan. Widen the filter, or choose another kind.")
    _write_items(queue, run, chosen)
    return queue


def set_queue_state(*, queue: ReviewQueue, state: str) -> None:
    """Open, pause or close it; a paused queue still takes what is on people's screens, a closed one nothing."""
    queue.state = QueueState(state)
    queue.save(update_fields=["state"])


@dataclass(frozen=True, slots=True)
class Preview:
    """What a plan would give: paths by stratum, and how many questions they belong to. Gold comes on top."""

    size: int
    questions: int
    strata: dict[str, int]


def preview_plan(*, run: Run, plan: SamplingPlan) -> Preview:
    """Draws without writing: what `build_queue` would take now. Raises PlanError."""
    drawn = draw_paths(run, plan)
    questions = set(frames.questions_of_paths(run, [d.unit for d in drawn]).values())
    return Preview(len(drawn), len(questions), dict(sorted(Counter(d.stratum for d in drawn).items())))


def draw_paths(run: Run, plan: SamplingPlan) -> list[Drawn]:
    """The paths of the plan in the order of handing out. Raises PlanError when there are more strata than places."""
    if plan.kind in ("random", "stratified"):
        return _probability_sample(run, plan)
    if plan.kind == "tier_flip":
        return _by_tier_flip(run, plan)
    if plan.kind == "paths":
        known = frames.questions_of_paths(run, plan.paths)
        if missing := [path for path in plan.paths if path not in known]:
            raise PlanError(f"paths: {missing[0]} is no current path of this run, or its question is set aside")
        return [Drawn(path, "chosen") for path in dict.fromkeys(plan.paths)]
    if plan.kind == "contradictions":
        found = [Drawn(path, why) for path, why in frames.contradicting_paths(run, plan.filter)]
    else:
        found = [Drawn(path, "reviewers disagree") for path in frames.disagreeing_paths(run, plan.filter)]
    return sorted(found, key=lambda d: mix(plan.seed, "order", d.unit))[: plan.size]


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


def _probability_sample(run: Run, plan: SamplingPlan) -> list[Drawn]:
    frame = frames.question_frame if plan.whole_questions else frames.path_frame
    drawn = draw(frame(run, plan), size=plan.size, allocation=plan.allocation, seed=plan.seed)
    return _with_all_paths(run, drawn) if plan.whole_questions else drawn


def _by_tier_flip(run: Run, plan: SamplingPlan) -> list[Drawn]:
    """Questions next to a cut-off first, then by the chance that their true tier is another one; all their paths."""
    cutoffs = run.config["cutoffs"]
    rows = frames.label_counts(run, plan.filter)
    paths = len(policy_of(run).slots)
    seen = [0] * (paths + 1)
    for _, errors, _ in rows:
        seen[errors] += 1
    known = {"sensitivity": plan.sensitivity, "specificity": plan.specificity}
    prior = tuple(float(chance) for chance in true_error_distribution(seen, **known))
    found = []
    for question, errors, correct in rows:
        value = flip_value(errors, correct, easy=cutoffs["easy"], medium=cutoffs["medium"], prior=prior, **known)
        near = at_cut_off(errors, easy=cutoffs["easy"], medium=cutoffs["medium"])
        found.append((not near, -value, mix(plan.seed, "order", question), question, errors))
    chosen = sorted(found)[: plan.size]
    return _with_all_paths(run, [Drawn(q, f"{errors} errors", None, -value) for _, value, _, q, errors in chosen])


def _with_all_paths(run: Run, questions: Sequence[Drawn]) -> list[Drawn]:
    """Each drawn question's paths, one after the other, with the question's chance."""
    paths = frames.paths_of_questions(run, [d.unit for d in questions])
    return [Drawn(path, d.stratum, d.probability, d.priority) for d in questions for path in paths[d.unit]]


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


Place = tuple[int, Drawn, Gold | None]  # path, how it was drawn, what is known of it


def _mix_in(
    run: Run, plan: SamplingPlan, items: Sequence[Drawn], gold: Sequence[Gold], *, everything: bool
) -> list[Place]:
    plain: list[Place] = [(d.unit, d, None) for d in items]
    drawn = {d.unit for d in items}
    known: list[Place] = [(g.path, Drawn(g.path, "gold"), g) for g in gold if g.path not in drawn]
    if everything:
        return known
    return mix_gold(plain, known, share=plan.gold_share, seed=plan.seed)


def _write_items(queue: ReviewQueue, run: Run, chosen: Sequence[Place]) -> None:
    questions = frames.questions_of_paths(run, [path for path, _, _ in chosen])
    rows = (
        QueueItem(
            queue=queue,
            path_id=path,
            question_id=questions[path],
            position=position,
            stratum=drawn.stratum[:120],
            inclusion_probability=drawn.probability,
            priority=drawn.priority,
            gold_label=gold.label if gold else "",
            gold_reason=gold.reason if gold else "",
        )
        for position, (path, drawn, gold) in enumerate(chosen, start=1)
    )
    while batch := list(islice(rows, 2_000)):
        QueueItem.objects.bulk_create(batch)
    queue.size = len(chosen)
    queue.save(update_fields=["size"])


def _fetch(sql: str, parameters: list[int]) -> list[tuple[int, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[int, str, str]] = cursor.fetchall()
        return rows
