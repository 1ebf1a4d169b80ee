"""Loads what the prompts of leased questions need: question text, the paths asked about, the reasons against others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.db import connection

from apps.pipeline.stages.base import Material
from apps.questions.text import LETTERS, join_question
from apps.reasoning.models import Run
from apps.reasoning.policy.assess import Assessment, Item
from apps.reasoning.policy.facts import QuestionFacts
from apps.reasoning.rows import int_array

NEEDS_REASONS = ("refine", "regenerate")


def load_material(
    run: Run,
    facts: Mapping[int, QuestionFacts],
    found: Mapping[int, Assessment],
    items: Mapping[int, Sequence[Item]],
) -> dict[int, Material]:
    """Material by question id, for the questions that have items. Read without models: this is asked for every lease."""
    wanted = [pk for pk, found_items in items.items() if found_items]
    path_ids = [item.path for pk in wanted for item in items[pk] if item.path]
    with connection.cursor() as cursor:
        material = _questions(cursor, wanted)
        texts = _texts(cursor, path_ids)
        for pk in wanted:
            mine = material[pk]
            for path in facts[pk].paths:
                mine.slots[path.id] = (path.generator, path.sample)
                if path.parent:
                    mine.parents[path.id] = path.parent
            mine.paths = {item.path: texts[item.path] for item in items[pk] if item.path}
        _add_reasons(cursor, run, facts, found, items, material)
        _add_returns(cursor, run, items, material)
        _add_retries(cursor, run, material)
    return material


def _questions(cursor: Any, ids: Sequence[int]) -> dict[int, Material]:
    cursor.execute(
        "SELECT id, uid, contexts::text, stem, options::text, key FROM questions_question WHERE id = ANY(%s::bigint[])",
        [int_array(ids)],
    )
    found = {}
    for pk, uid, contexts, stem, listed, key in cursor.fetchall():
        options = orjson.loads(listed)
        text = join_question(orjson.loads(contexts), stem, options)
        found[pk] = Material(pk, uid, text, options, LETTERS[key], f"{LETTERS[key]}. {options[key]}")
    return found


def _texts(cursor: Any, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    cursor.execute("SELECT id, text FROM reasoning_reasoningpath WHERE id = ANY(%s::bigint[])", [int_array(ids)])
    return dict(cursor.fetchall())


def _add_reasons(
    cursor: Any,
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
    cursor.execute(
        "SELECT path_id, reason FROM reasoning_verdict WHERE path_id = ANY(%s::bigint[]) AND current AND label = 'error'"
        " AND reason <> '' AND (source <> 'judge' OR run_id = %s) ORDER BY id",
        [int_array(owner), run.pk],
    )
    for path, reason in cursor.fetchall():
        material[owner[path]].reasons[path] = reason  # a person's comes later than the judge's and replaces it


_RETURNS = """
SELECT d.question_id, d.path_id, d.reason, r.text FROM review_recorddecision d
LEFT JOIN reasoning_response r ON r.id = d.response_id
WHERE d.run_id = %s AND d.question_id = ANY(%s::bigint[]) AND d.path_id = ANY(%s::bigint[]) AND d.decision = 'returned' AND d.again = 'response'
ORDER BY d.id"""
QUOTED = 2_000  # characters of a summary that was sent back


def _add_returns(cursor: Any, run: Run, items: Mapping[int, Sequence[Item]], material: Mapping[int, Material]) -> None:
    """For summaries to be written again: the reason each one before was sent back with, and that summary."""
    again = [i.path for pk in material for i in items[pk] if i.stage == "summarise" and i.revision > 1 and i.path]
    if not again:
        return
    cursor.execute(_RETURNS, [run.pk, int_array(material), int_array(again)])
    for question, path, reason, text in cursor.fetchall():
        quoted = f" It was said of this summary: {' '.join(text.split())[:QUOTED]}" if text else ""
        material[question].returned.setdefault(path, []).append(f"{' '.join(reason.split())}{quoted}")


def _add_retries(cursor: Any, run: Run, material: Mapping[int, Material]) -> None:
    cursor.execute(
        "SELECT question_id, stage, item FROM pipeline_failure"
        " WHERE run_id = %s AND question_id = ANY(%s::bigint[]) AND resolved_at IS NOT NULL",
        [run.pk, int_array(material)],
    )
    for question, stage, item in cursor.fetchall():
        retries = material[question].retries
        retries[stage, item] = retries.get((stage, item), 0) + 1
