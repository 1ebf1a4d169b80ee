"""A sampling plan and a preview of it, in words and figures for the one who decides."""

from __future__ import annotations

import json
from dataclasses import dataclass

from apps.reasoning.models import Label
from apps.review.models import ReviewQueue
from apps.review.queues.plans import PlanError, SamplingPlan, parse_plan
from apps.review.queues.preview import Preview
from apps.review.statistics.intervals import wilson

SECONDS_AN_ITEM = 90
KINDS = {
    "random": ("Random", "Every path is as likely as another: figures speak for the run."),
    "stratified": ("Stratified", "So many from each benchmark, tier, model or label; weighted back to the run."),
    "contradictions": ("Contradictions", "The judge says Correct and the answer is not the key; nine paths on a wrong answer."),
    "tier_flip": ("Tier-flip value", "Questions whose tier would most likely change: next to a cut-off first."),
    "disagreement": ("Disagreement", "Paths on which two people differ and nobody has settled it."),
    "paths": ("These paths", "Paths you name by their ids."),
}  # fmt: skip
TRAITS = {"benchmark": "benchmark", "tier": "tier", "generator": "model", "label": "judge’s label"}


def plan_in_words(plan: SamplingPlan) -> str:
    """One sentence: what is drawn, from what, how."""
    whole = plan.whole_questions or plan.kind == "tier_flip"
    units = "question" if whole else "path"
    count = f"{plan.size:,} {units}{'' if plan.size == 1 else 's'}"
    if plan.kind == "random":
        words = f"{count} drawn at random"
    elif plan.kind == "stratified":
        share = "equally many from each" if plan.allocation == "equal" else "in proportion to each"
        words = f"{count} drawn at random, {share} {' and '.join(TRAITS[t] for t in plan.by)}"
    elif plan.kind == "tier_flip":
        words = (
            f"{count} whose tier would most likely change, for a judge with a sensitivity of {plan.sensitivity:g} "
            f"and a specificity of {plan.specificity:g}"
        )
    elif plan.kind == "paths":
        words = f"{len(plan.paths):,} path{'' if len(plan.paths) == 1 else 's'} named by id"
    else:
        words = f"At most {count} with a contradiction" if plan.kind == "contradictions" else f"At most {count} on which reviewers differ"  # fmt: skip
    if whole:
        words += ", each with all its paths"
    if kept := filter_in_words(plan):
        words += f"; only {kept}"
    if plan.gold_share:
        words += f"; {plan.gold_share:.0%} of the queue is gold"
    return f"{words}. Seed {plan.seed}."


def filter_in_words(plan: SamplingPlan) -> str:
    chosen = plan.filter
    parts = [
        ", ".join(chosen.benchmarks),
        " and ".join(tier or "no" for tier in chosen.tiers) + " tier" if chosen.tiers else "",
        "model " + ", ".join(chosen.generators) if chosen.generators else "",
        "judged " + " or ".join(label or "not yet" for label in chosen.labels) if chosen.labels else "",
        " or ".join(str(n) for n in chosen.error_counts) + " errors" if chosen.error_counts else "",
    ]
    return "; ".join(part for part in parts if part)


def stored_plan(queue: ReviewQueue) -> tuple[str, str]:
    """(words, JSON) of a queue's plan."""
    text = json.dumps(queue.plan, indent=2, ensure_ascii=False)
    try:
        return plan_in_words(parse_plan(queue.plan)), text
    except PlanError:
        return "A plan of another version; see its JSON.", text


@dataclass(frozen=True, slots=True)
class HalfWidth:
    """`n`: the paths it would rest on; in percentage points."""

    name: str
    n: int
    assumed: float
    points: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the queue will hold and take. `widths` only where the plan is a probability sample."""

    preview: Preview
    gold: int
    judgments: int
    seconds: int
    widths: tuple[HalfWidth, ...]
    clustered: bool  # whole questions: their paths go together, so the intervals will be wider


def forecast(plan: SamplingPlan, preview: Preview, *, settled: int, overlap: int) -> Forecast:
    """`settled`: how many gold paths there are. Half-widths are Wilson's, for the sensitivity and specificity that the
    plan assumes, taking the judge's labels for the share of Errors."""
    share = plan.gold_share
    gold = min(round(preview.size * share / (1 - share)), settled)
    judgments = (preview.size + gold) * overlap
    widths = []
    if plan.is_probability_sample:
        for name, label, assumed in (
            ("Sensitivity", Label.ERROR, plan.sensitivity),
            ("Specificity", Label.CORRECT, plan.specificity),
        ):
            if n := preview.labels.get(label, 0):
                low, high = wilson(assumed * n, n)
                widths.append(HalfWidth(name, n, 100 * assumed, 50 * (high - low)))
    return Forecast(preview, gold, judgments, judgments * SECONDS_AN_ITEM, tuple(widths), plan.whole_questions)
