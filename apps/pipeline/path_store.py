"""The database side of an import of paths: each batch of rows by COPY, with what it makes of the run's counters and lists.

In the caller's transaction; PostgreSQL writes a path while the next one's answer is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from apps.pipeline.config import RunConfig
from apps.pipeline.path_rows import PathRow
from apps.questions.models import Question
from apps.reasoning.answers import extract_answer
from apps.reasoning.models import Origin, QuestionState, Run
from apps.reasoning.services import add_counters, assess_questions

Chosen = Sequence[tuple[Question, PathRow]]

_QUESTIONS = """
COPY reasoning_runquestion (run_id, question_id, benchmark_id, state, reason, pattern, answers, tier, hold, contradictions,
  overridden, disputed, records, cost, version, changed_at) FROM STDIN"""
_PATHS = """
COPY reasoning_reasoningpath (run_id, question_id, origin, generator, sample, revision, current, raw, text, answer, answer_how,
  finish_reason, model, temperature, created_at) FROM STDIN"""


@dataclass(frozen=True, slots=True)
class Slots:
    """Whose path stands at which place of a row."""

    config: RunConfig
    models: tuple[str, ...]
    temperatures_known: bool

    def column_values(self, question: Question, row: PathRow) -> Iterator[tuple[Any, ...]]:
        """(generator … temperature) as `_PATHS` names them, of each path of a row."""
        for (place, sample), told in row.paths.items():
            generator = self.config.generators[place]
            answer = extract_answer(told.raw, question.options)
            temperature = generator.temperatures[sample] if self.temperatures_known else None
            yield (
                *(generator.name, sample + 1, 1, True, told.raw, told.text),
                *(answer.letter, answer.how, "", self.models[place], temperature),
            )


def store_rows(run: Run, chosen: Chosen, slots: Slots) -> int:
    """Questions and their paths; returns how many paths."""
    if not chosen:
        return 0
    now, paths = timezone.now(), 0
    waiting = (QuestionState.WAITING, "verify", "", "", "", False, 0, False, False, 0, 0, 0, now)
    with connection.cursor() as cursor:
        with cursor.copy(_QUESTIONS) as copy:
            for question, _ in chosen:
                copy.write_row((run.pk, question.pk, question.benchmark_id, *waiting))
        with cursor.copy(_PATHS) as copy:
            for question, row in chosen:
                for values in slots.column_values(question, row):
                    copy.write_row((run.pk, question.pk, Origin.IMPORTED, *values, now))
                    paths += 1
    questions = [question for question, _ in chosen]
    add_counters(run_id=run.pk, change=_counts(questions, paths))
    assess_questions(run=run, question_ids=[question.pk for question in questions])
    return paths


def _counts(questions: Sequence[Question], paths: int) -> Counter[str]:
    counts = Counter(f"benchmark:{question.benchmark_id}:{QuestionState.WAITING}" for question in questions)
    counts["questions"] = counts[f"state:{QuestionState.WAITING}:verify"] = len(questions)
    counts[f"paths:{Origin.IMPORTED}"] = paths
    return counts
