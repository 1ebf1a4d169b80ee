"""Codes of the ledger in words; a code not listed is shown as it is written."""

from __future__ import annotations

from apps.reasoning.models import Origin

REASONS = {
    "generate": "paths not generated yet",
    "verify": "verdict missing",
    "tier": "verdict missing",
    "rank": "ranking",
    "refine": "refining",
    "regenerate": "regenerating",
    "reverify": "re-verification",
    "summarise": "summary",
    "disputed": "disputed, to adjudicate",
    "unjudged": "a path could not be judged",
    "stale": "an override made outputs stale, to confirm",
    "failed": "an output was set aside, to try again",
    "held_out": "held out",
    "question_invalid": "set aside: key wrong, ambiguous or outdated",
    "summary_answer_not_key": "summary’s answer is not the key",
    "rewrites_failed": "no rewritten path passed",
    "no_rankable_path": "no Correct path to keep",
    "record_excluded": "its records were excluded by a person",
    "open_source": "not held out, and only held-out ones were chosen",
    "benchmark_not_chosen": "benchmark not chosen",
    "tier_not_chosen": "tier not chosen",
    "duplicate": "duplicate of another question of the run",
    "label_by_people": "a person’s word changed it, and the judge’s alone was chosen",
    "no_label_by_people": "no clinician’s verdict",
    "contaminated": "in an evaluation set, or close to a question in one",
    "near_duplicate": "nearly the same as a question that leaves",
    "gate_language": "quality gate: not in English",
    "gate_too_short": "quality gate: too short",
    "gate_too_long": "quality gate: too long",
    "gate_refusal": "quality gate: a refusal",
    "gate_truncated": "quality gate: cut off",
    "gate_leaked_prompt": "quality gate: text of the prompt leaked",
    "gate_loop": "quality gate: repeats itself",
    "gate_think_tag": "quality gate: thinking tags left over",
    "gate_answer": "quality gate: states another answer than the key",
    "gate_twin": "quality gate: same reasoning as an earlier record",
}
STAGES = {
    "generate": "Generate",
    "verify": "Verify",
    "tier": "Tier",
    "rank": "Rank",
    "refine": "Refine",
    "regenerate": "Regenerate",
    "rewrite": "Refine or regenerate",
    "reverify": "Re-verify",
    "summarise": "Summarise",
}
ORIGINS = {
    Origin.GENERATED: "generated",
    Origin.IMPORTED: "imported",
    Origin.REFINED: "refined",
    Origin.REGENERATED: "regenerated",
}


def reason_words(reason: str) -> str:
    """Why a question waits or is excluded."""
    return REASONS.get(reason, reason.replace("_", " "))


def stage_word(stage: str) -> str:
    return STAGES.get(stage, stage.replace("_", " ").capitalize())


def origin_word(origin: str) -> str:
    return ORIGINS.get(Origin(origin), origin)
