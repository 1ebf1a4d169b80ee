"""Loads what the prompts of leased questions need: question text, the paths asked about, the reasons against others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import connection

from apps.pipeline.models import Failure
from apps.pipeline.stages.base import Material
from apps.questions.models import LETTERS, Question
from apps.questions.text import join_question
from apps.reasoning.models import ReasoningPath, Run, Verdict
from apps.reasoning.policy.assess import Assessment, Item
from apps.reasoning.policy.facts import QuestionFacts

NEEDS_REASONS = ("refine", "regenerate")


def load_material(
    run: Run,
    facts: Mapping[int, QuestionFacts],
    found: Mapping[int, Assessment],
    items: Mapping[int, Sequence[Item]],
) -> dict[int, Material]:
    """Material by question id, for the questions that have items."""
    wanted = [pk for pk, found_items in items.items() if found_items]
    rows = Question.objects.filter(pk__in=wanted).values_list("id", "uid", "contexts", "stem", "options", "key")
    material = {
        pk: Material(
            pk, uid, join_question(contexts, stem, options), options, LETTERS[key], f"{LETTERS[key]}. {options[key]}"
        )
        for pk, uid, contexts, stem, options, key in rows
    }
    path_ids = [item.path for pk in wanted for item in items[pk] if item.path]
    texts = dict(ReasoningPath.objects.filter(pk__in=path_ids).values_list("id", "text"))
    for pk in wanted:
        mine = material[pk]
        for path in facts[pk].paths:
            mine.slots[path.id] = (path.generator, path.sample)
            if path.parent:
                mine.parents[path.id] = path.parent
        mine.paths = {item.path: texts[item.path] for item in items[pk] if item.path}
    _add_reasons(run, facts, found, items, material)
    _add_returns(run, items, material)
    _add_retries(run, material)
    return material


def _add_reasons(
    run: Run,
    facts: Mapping[int, QuestionFacts],
    found: Mapping[int, Assessment],
    items: Mapping[int, Sequence[Item]],
    material: Mapping[int, Material],
) -> None:
    owner = {
        path.id: pk
        for pk in material
        if any(item.stage in NEEDS_REASONS for item in items[pk])
        for path in facts[pk].paths
        if found[pk].labels[path.id].label == "error"
    }
    if not owner:
        return
    verdicts = Verdict.objects.filter(path_id__in=list(owner), current=True, label="error").order_by("id")
    for path, source, verdict_run, reason in verdicts.values_list("path_id", "source", "run_id", "reason"):
        if reason and (source != "judge" or verdict_run == run.pk):
            material[owner[path]].reasons[path] = reason  # a person's comes later than the judge's and replaces it


_RETURNS = """
SELECT d.question_id, d.path_id, d.reason, r.text FROM review_recorddecision d
LEFT JOIN reasoning_response r ON r.id = d.response_id
WHERE d.run_id = %s AND d.question_id = ANY(%s) AND d.path_id = ANY(%s) AND d.decision = 'returned' AND d.again = 'response'
ORDER BY d.id"""
QUOTED = 2_000  # characters of a summary that was sent back


def _add_returns(run: Run, items: Mapping[int, Sequence[Item]], material: Mapping[int, Material]) -> None:
    """For summaries to be written again: the reason each one before was sent back with, and that summary."""
    again = [i.path for pk in material for i in items[pk] if i.stage == "summarise" and i.revision > 1]
    if not again:
        return
    with connection.cursor() as cursor:
        cursor.execute(_RETURNS, [run.pk, list(material), again])
        for question, path, reason, text in cursor.fetchall():
            quoted = f" It was said of this summary: {' '.join(text.split())[:QUOTED]}" if text else ""
            material[question].returned.setdefault(path, []).append(f"{' '.join(reason.split())}{quoted}")


def _add_retries(run: Run, material: Mapping[int, Material]) -> None:
    again = Failure.objects.filter(run=run, question__in=list(material), resolved_at__isnull=False)
    for question, stage, item in again.values_list("question_id", "stage", "item"):
        retries = material[question].retries
        retries[stage, item] = retries.get((stage, item), 0) + 1
