"""What every override of a record shares: the lock, the version, the same request twice, and the follow-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from apps.questions.models import Question
from apps.reasoning.facts import load_facts, policy_of
from apps.reasoning.models import Run, RunQuestion
from apps.reasoning.policy.facts import QuestionFacts
from apps.reasoning.services import lock_questions
from apps.review.consequences import Consequences, compare_facts
from apps.review.models_records import RecordDecision, RecordOverride
from apps.review.services import OverrideError, VersionConflict, follow_questions, key_taken

M = TypeVar("M", RecordOverride, RecordDecision)


@dataclass(frozen=True, slots=True)
class Saved(Generic[M]):
    """`row` is the question in the run as it is now; `replayed`: the same request was saved before, nothing was written."""

    made: M
    row: RunQuestion
    summary: str
    consequences: Consequences | None = None
    replayed: bool = False


def preview(run: Run, question: Question, change: Callable[[QuestionFacts], QuestionFacts]) -> Consequences:
    """What the change would do to the question in the run. Writes nothing."""
    before = load_facts(run, [question.pk]).get(question.pk)
    if before is None:
        raise OverrideError("This question is not in the run.")
    return compare_facts(run=run, before=before, after=change(before), policy=policy_of(run))


def save_change(
    model: type[M],
    *,
    run: Run,
    question: Question,
    by: User,
    key: UUID | None,
    expected_version: int | None,
    check: Callable[[RunQuestion], Callable[[QuestionFacts], QuestionFacts]],
    write: Callable[[Consequences], M],
    mine: dict[str, Any],
) -> Saved[M]:
    """Lock, look for the same request, check, work out what follows, write, and let it follow: one transaction.

    `check` raises OverrideError for what may not be, and returns the change of the facts; `mine` tells a repeated
    request from a key that belongs to another.
    """
    try:
        with transaction.atomic():
            row = lock_row(run, question)
            if key and (saved := model.objects.filter(idempotency_key=key).first()):
                return replay(saved, row, by, mine)
            check_version(row, expected_version)
            change = check(row)
            found = preview(run, question, change)
            made = write(found)
            follow_questions(run, [question.pk], hold=found.hold)
            row.refresh_from_db()
    except IntegrityError as error:
        if "idempotency_key" in str(error):
            raise key_taken() from None
        raise
    return Saved(made, row, found.summary, found)


def lock_row(run: Run, question: Question) -> RunQuestion:
    lock_questions(run=run, question_ids=[question.pk])
    row = RunQuestion.objects.select_related("question").filter(run=run, question=question).first()
    if row is None:
        raise OverrideError("This question is not in the run.")
    return row


def check_version(row: RunQuestion, expected: int | None) -> None:
    if expected is not None and row.version != expected:
        raise VersionConflict(row)


def replay(saved: M, row: RunQuestion, by: User, mine: dict[str, Any]) -> Saved[M]:
    same = {"run_id": row.run_id, "question_id": row.question_id, "by_id": by.pk} | mine
    if any(getattr(saved, name) != value for name, value in same.items()):
        raise key_taken()
    return Saved(saved, row, str(saved.consequences.get("summary", "")), replayed=True)


def supersede(model: type[M], **same: Any) -> M | None:
    """The row that a new one replaces, no longer current."""
    earlier = model.objects.filter(**same, current=True).first()
    if earlier is not None:
        model.objects.filter(pk=earlier.pk).update(current=False)
    return earlier


def require_reason(reason: str) -> str:
    if not reason.strip():
        raise OverrideError("Give the reason: it is kept with what you decide.", field="reason")
    return reason.strip()
