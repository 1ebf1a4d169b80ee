"""Settling what reviewers disagree on: a third person, never one of those who disagree."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from apps.questions.access import ADJUDICATOR, has_role
from apps.reasoning.models import Label, PathLabel, ReasoningPath, Run, RunQuestion, Verdict, VerdictSource
from apps.review.consequences import Consequences
from apps.review.queues.errors import NotAdmitted, QueueError
from apps.review.queues.said import Said, check_said
from apps.review.services import OverrideError, VersionConflict, key_taken, lock_path, parse_key, record_verdict


@dataclass(frozen=True, slots=True)
class Adjudicated:
    verdict: Verdict
    row: RunQuestion
    summary: str
    consequences: Consequences | None = None  # none when replayed
    replayed: bool = False


def disputed_paths(run: Run, by: User) -> QuerySet[PathLabel]:
    """Paths of the run on which people disagree and that this person may settle, by path: not those they judged."""
    return (
        PathLabel.objects.filter(run=run, disputed=True)
        .exclude(Exists(said_by(by, run.project_id, OuterRef("path"))))
        .select_related("path", "question")
        .defer("path__raw", "path__text", "question__search")
        .order_by("path")
    )


def adjudicate(
    *,
    run: Run,
    path: ReasoningPath,
    by: User,
    said: Said,
    idempotency_key: UUID | str,
    expected_version: int | None = None,
) -> Adjudicated:
    """The label that stands from now on, whatever judge and reviewers say. `expected_version` is RunQuestion's.

    Raises NotAdmitted (no adjudicator, or an author of a verdict on the path: the database refuses that as well),
    QueueError, VersionConflict.
    """
    if not has_role(by, ADJUDICATOR):
        raise NotAdmitted("Only an adjudicator settles a disagreement.")
    checked = check_said(said, text=path.text)
    try:
        key = parse_key(idempotency_key)
        with transaction.atomic():
            runs, row = lock_path(run=run, path=path)
            saved = Verdict.objects.filter(idempotency_key=key).first() if key else None
            if saved is not None:
                return _replay(saved, row, path, by)
            if expected_version is not None and row.version != expected_version:
                raise VersionConflict(row)
            if said_by(by, run.project_id, path.pk).exists():
                raise NotAdmitted("You have judged this path yourself; a third person must settle it.")
            verdict, found = record_verdict(
                run=run,
                runs=runs,
                path=path,
                reviewer=by,
                label=checked.label,
                axes=checked.axes,
                reason=checked.reason,
                details=checked.details,
                idempotency_key=key,
                source=VerdictSource.ADJUDICATION,
            )
            row.refresh_from_db()
    except OverrideError as error:
        raise QueueError(str(error), field=error.field) from error
    return Adjudicated(verdict, row, found.summary, found)


def said_by(person: User, project_id: int, path: int | OuterRef) -> QuerySet[Verdict]:
    """What makes the person an author of the path: their verdict on it that they did not take back."""
    return Verdict.objects.filter(
        path=path,
        project=project_id,
        reviewer=person,
        source=VerdictSource.PERSON,
        current=True,
    ).exclude(label=Label.UNJUDGED)


def _replay(saved: Verdict, row: RunQuestion, path: ReasoningPath, by: User) -> Adjudicated:
    if (saved.path_id, saved.reviewer_id, saved.source) != (path.pk, by.pk, VerdictSource.ADJUDICATION):
        raise key_taken()
    return Adjudicated(saved, row, saved.details.get("consequences", {}).get("summary", ""), replayed=True)
