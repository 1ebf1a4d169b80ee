"""Exits from a question that is not sound: it and all its paths are set aside, until an adjudicator revokes that."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from apps.questions.access import ADJUDICATOR, has_role
from apps.questions.models import Project, Question
from apps.reasoning.models import Run
from apps.reasoning.services import lock_questions
from apps.review.models import Claim, ClaimState, FlagKind, FlagState, QuestionFlag, QueueItem
from apps.review.queues.errors import NotAdmitted, QueueError
from apps.review.queues.said import LONGEST_COMMENT, clean_text
from apps.review.services import follow_questions, key_taken, parse_key


def flag_question(
    *,
    question: Question,
    project: Project,
    reviewer: User,
    kind: str,
    note: str = "",
    item: QueueItem | None = None,
    idempotency_key: UUID | str | None = None,
) -> QuestionFlag:
    """Say that the key is wrong, or the question ambiguous or outdated. Every run of the project excludes it at once.

    The same flag of the same person, or the same request again, gives the flag that is there.
    """
    if kind not in FlagKind.values:
        raise QueueError(
            "Say what is not sound: the key is wrong, or the question is ambiguous or outdated.", field="kind"
        )
    key = parse_key(idempotency_key)
    with transaction.atomic():
        runs = _lock(question, project)
        mine = QuestionFlag.objects.filter(question=question, project=project, reviewer=reviewer, kind=kind)
        if key and (saved := QuestionFlag.objects.filter(idempotency_key=key).first()):
            if (saved.question_id, saved.reviewer_id, saved.kind) != (question.pk, reviewer.pk, kind):
                raise QueueError(str(key_taken()), field="idempotency_key")
            return saved
        if standing := mine.exclude(state=FlagState.REVOKED).first():
            return standing
        try:
            with transaction.atomic():
                flag = QuestionFlag.objects.create(
                    question=question, project=project, reviewer=reviewer, kind=kind, note=clean_text(note)[:LONGEST_COMMENT],
                    item=item, idempotency_key=key,
                )  # fmt: skip
        except IntegrityError:  # the key was used meanwhile for a flag of another question
            raise QueueError(str(key_taken()), field="idempotency_key") from None
        _follow(question, project, runs)
    return flag


def resolve_flag(*, flag: QuestionFlag, by: User, uphold: bool, why: str = "") -> QuestionFlag:
    """An adjudicator agrees (the question stays out) or revokes the flag; with the last one revoked, it is back.

    Raises NotAdmitted for others, QueueError when someone resolved it already.
    """
    if not has_role(by, ADJUDICATOR):
        raise NotAdmitted("Only an adjudicator settles flags.")
    if not uphold and not why.strip():
        raise QueueError("Say why the question is sound: it is kept with the flag.", field="why")
    return _resolve(flag, by, FlagState.UPHELD if uphold else FlagState.REVOKED, why)


def withdraw_flag(*, flag: QuestionFlag, by: User) -> QuestionFlag:
    """Whoever raised it takes it back, as long as nobody settled it: as an adjudicator's revoking. The same again: the same.

    Raises NotAdmitted for others, QueueError when someone settled it already.
    """
    if flag.reviewer_id != by.pk:
        raise NotAdmitted("Only who raised a flag takes it back; an adjudicator may revoke it.")
    flag.refresh_from_db()
    if (flag.state, flag.resolved_by_id) == (FlagState.REVOKED, by.pk):
        return flag
    return _resolve(flag, by, FlagState.REVOKED, "Taken back by who raised it.")


def _resolve(flag: QuestionFlag, by: User, state: FlagState, why: str) -> QuestionFlag:
    with transaction.atomic():
        runs = _lock(flag.question, flag.project)
        changed = QuestionFlag.objects.filter(pk=flag.pk, state=FlagState.OPEN).update(
            state=state,
            resolved_at=timezone.now(),
            resolved_by=by,
            resolution=clean_text(why)[:LONGEST_COMMENT],
        )
        if not changed:
            raise QueueError("This flag is settled already. Load the page again.")
        _follow(flag.question, flag.project, runs)
    flag.refresh_from_db()
    return flag


def _lock(question: Question, project: Project) -> list[Run]:
    """The project's runs with the question, its row locked in each of them."""
    runs = list(Run.objects.filter(project=project, questions__question=question).order_by("pk"))
    for run in runs:
        lock_questions(run=run, question_ids=[question.pk])
    return runs


def _follow(question: Question, project: Project, runs: list[Run]) -> None:
    """Runs assess the question again; its queue items are closed, or opened again once no flag stands."""
    for run in runs:
        follow_questions(run, [question.pk])
    aside = QuestionFlag.objects.filter(question=question, project=project).exclude(state=FlagState.REVOKED).exists()
    items = QueueItem.objects.filter(question=question, queue__project=project)
    ids = list(items.select_for_update(no_key=True, of=("self",)).order_by("pk").values_list("pk", flat=True))
    mine = QueueItem.objects.filter(pk__in=ids)
    if aside:
        Claim.objects.filter(item__in=ids, state=ClaimState.LIVE).update(state=ClaimState.RELEASED, slot=None)
        mine.update(set_aside=True, open=False, taken=F("done"), free_at=None)
    else:
        mine.update(set_aside=False)
        for item in mine.select_related("queue"):
            QueueItem.objects.filter(pk=item.pk).update(open=item.done < item.queue.overlap)
