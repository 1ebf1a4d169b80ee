"""Saving what a person says of an item: verdict, judgment, consequences and claim in one transaction, never twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.reasoning.models import ReasoningPath, Run, Verdict, VerdictSource
from apps.reasoning.policy.facts import LabelName
from apps.review.consequences import Consequences
from apps.review.models import Claim, ClaimState, Judgment, Phase, QueueItem, QueueState
from apps.review.queues.claims import LEASE, NOT_HELD, admit, hold_place, lock_item, own_claim, settle_item
from apps.review.queues.errors import ItemChanged, ItemLost, QueueError
from apps.review.queues.reveal import GoldFeedback, Reveal, gold_feedback, reveal
from apps.review.queues.said import Checked, Said, check_said
from apps.review.services import OverrideError, key_taken, parse_key, record_verdict, runs_using, save_verdict


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What a save answers; the same request again gets the same, with `replayed`.

    `version` is the claim's: send it as `expected_version` with the next judgment of this item. `summary` says what
    changed in the runs, and is empty in a queue that only measures. `gold` is none unless the queue gives feedback.
    """

    judgment: Judgment
    claim: Claim
    version: int
    summary: str
    reveal: Reveal | None
    gold: GoldFeedback | None
    consequences: Consequences | None = None  # none when replayed, or when the verdict only measures
    replayed: bool = False


def judge_item(
    *,
    item: QueueItem,
    reviewer: User,
    token: UUID | str,
    said: Said,
    idempotency_key: UUID | str,
    expected_version: int | None = None,
) -> JudgeResult:
    """Save a judgment: the first, or (on an item judged before) a revision as a new verdict.

    The first in a blind queue is stored as blind, and only then the judge's verdict is shown. A claim that expired is
    good as long as the item has a free place. Raises NotAdmitted, QueueError (not valid), ItemLost (someone else has
    it now, or it was set aside), ItemChanged (judged or undone in another window; both sides).
    """
    return _write(
        item=item, reviewer=reviewer, token=token, said=said, key=idempotency_key, expected_version=expected_version
    )


def undo_item(
    *,
    item: QueueItem,
    reviewer: User,
    idempotency_key: UUID | str,
    expected_version: int | None = None,
) -> JudgeResult:
    """Take one's own judgment back, as a new verdict that says unjudged; the item is open again, for the same person.

    Raises like `judge_item`; QueueError when there is nothing to undo.
    """
    return _write(
        item=item, reviewer=reviewer, token=None, said=None, key=idempotency_key, expected_version=expected_version
    )


def undo_last(*, queue_id: int, reviewer: User, idempotency_key: UUID | str) -> JudgeResult:
    """Take back the latest judgment of the person in the queue. The same key again undoes nothing further."""
    saved = Judgment.objects.filter(verdict__idempotency_key=parse_key(idempotency_key), reviewer=reviewer).first()
    judged = Claim.objects.filter(item__queue=queue_id, reviewer=reviewer, state=ClaimState.JUDGED)
    claim = saved.claim if saved else judged.order_by("-finished_at").first()
    if claim is None:
        raise QueueError("You have judged nothing in this queue that could be undone.")
    return undo_item(item=claim.item, reviewer=reviewer, idempotency_key=idempotency_key)


def keep_item(*, item: QueueItem, reviewer: User) -> None:
    """The person saw the judge's verdict and stays with their own: kept beside the judgment, no new verdict."""
    admit(item.queue, reviewer)
    mine = Claim.objects.filter(item=item, reviewer=reviewer)
    seen = mine.filter(state=ClaimState.JUDGED, revealed_at__isnull=False)
    if seen.update(kept_at=Coalesce("kept_at", timezone.now())):
        return
    if not mine.exists():
        raise ItemLost(NOT_HELD)
    raise QueueError("There is nothing to keep: judge the item first.")


def _write(
    *,
    item: QueueItem,
    reviewer: User,
    token: UUID | str | None,
    said: Said | None,
    key: UUID | str,
    expected_version: int | None,
) -> JudgeResult:
    """`said` none: undo."""
    queue = item.queue
    admit(queue, reviewer)
    path = item.path
    checked = check_said(said, text=path.text) if said is not None else None
    try:
        parsed = parse_key(key)
        if parsed is None:
            raise QueueError("Send an idempotency key with each judgment.", field="idempotency_key")
        with transaction.atomic():
            runs = runs_using(run=queue.run, path=path, lock=True)
            locked = lock_item(item.pk, queue)
            locked.path, locked.question = path, item.question  # read once
            if (saved := _saved(parsed, locked, reviewer)) is not None:
                return _replay(saved)
            claim = _checked_claim(locked, reviewer, token, expected_version, undo=checked is None)
            return _save(locked, claim, path, runs, checked, parsed)
    except OverrideError as error:
        raise QueueError(str(error), field=error.field) from error


def _saved(key: UUID, item: QueueItem, reviewer: User) -> Judgment | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM reasoning_verdict WHERE idempotency_key = %s", [key])
        verdict = cursor.fetchone()
    if verdict is None:
        return None
    mine = Judgment.objects.filter(verdict=verdict[0], item=item, reviewer=reviewer)
    judgment = mine.select_related("verdict").first()
    if judgment is None:
        raise key_taken()
    judgment.item = item
    return judgment


def _checked_claim(
    item: QueueItem, reviewer: User, token: UUID | str | None, expected_version: int | None, *, undo: bool
) -> Claim:
    """The person's claim, locked, once nothing speaks against writing."""
    if item.queue.state == QueueState.CLOSED:
        raise QueueError("This queue is closed: it takes no more judgments.")
    if item.set_aside:
        raise ItemLost("The question of this item was set aside meanwhile. Your judgment was not saved.")
    claim = own_claim(item, reviewer)
    if token is not None and parse_key(token) != claim.token:
        raise ItemLost(NOT_HELD)
    if claim.state == ClaimState.SKIPPED:
        raise QueueError("You have skipped this item.")
    if expected_version is not None and claim.version != expected_version:
        standing = claim.judgments.select_related("verdict").order_by("-round").first()
        undone = standing is None or standing.phase == Phase.UNDONE
        raise ItemChanged(claim, None if undone else standing)
    if undo and claim.state != ClaimState.JUDGED:
        raise QueueError("There is no judgment of yours on this item to undo.")
    hold_place(item, claim)
    return claim


def _save(
    item: QueueItem, claim: Claim, path: ReasoningPath, runs: list[Run], checked: Checked | None, key: UUID
) -> JudgeResult:
    queue, now = item.queue, timezone.now()
    first = claim.state != ClaimState.JUDGED
    verdict, found = _verdict(item, claim.reviewer, path, runs, checked, key)
    active = min(checked.active_ms, int((now - claim.claimed_at).total_seconds() * 1000)) if checked else 0
    judgment = Judgment.objects.create(
        verdict=verdict,
        item=item,
        claim=claim,
        reviewer=claim.reviewer,
        round=claim.version + 1,
        phase=Phase.UNDONE if checked is None else Phase.FIRST if first else Phase.REVISED,
        blind=queue.blind and claim.revealed_at is None,
        active_ms=max(active, 0),
        **(_columns(checked) if checked else {}),
    )
    claim.version += 1
    claim.state, claim.finished_at = (ClaimState.JUDGED, now) if checked else (ClaimState.LIVE, None)
    claim.expires_at = now + LEASE
    claim.revealed_at = claim.revealed_at or (now if checked else None)
    claim.kept_at = None
    claim.save(update_fields=["version", "state", "finished_at", "expires_at", "revealed_at", "kept_at", "slot"])
    settle_item(item)
    return _result(judgment, item, claim, found)


def _verdict(
    item: QueueItem, reviewer: User, path: ReasoningPath, runs: list[Run], checked: Checked | None, key: UUID
) -> tuple[Verdict, Consequences | None]:
    """The verdict; with what follows from it where it counts. Gold items and measuring queues move no tier."""
    queue = item.queue
    axes = checked.axes if checked else dict.fromkeys(("correctness", "coherence", "factuality"))
    label: LabelName = checked.label if checked else "unjudged"
    reason = checked.reason if checked else "Taken back."
    details: dict[str, Any] = {"queue": queue.pk, "item": item.pk, **(checked.details if checked else {})}
    if queue.counts and not item.gold_label:
        return record_verdict(
            run=queue.run, runs=runs, path=path, reviewer=reviewer, label=label, axes=axes, reason=reason,
            details=details, idempotency_key=key,
        )  # fmt: skip
    verdict = save_verdict(
        path=path, project=queue.project, reviewer=reviewer, source=VerdictSource.PERSON, counts=False, label=label,
        **axes, reason=reason, details=details, idempotency_key=key,
    )  # fmt: skip
    return verdict, None


def _columns(checked: Checked) -> dict[str, Any]:
    return {
        "reasons": checked.reasons,
        "harm": checked.harm,
        "sentences": checked.quoted,
        "comment": checked.comment,
        "flagged": checked.flagged,
    }


def _replay(judgment: Judgment) -> JudgeResult:
    return _result(judgment, judgment.item, judgment.claim, None, replayed=True)


def _result(
    judgment: Judgment, item: QueueItem, claim: Claim, found: Consequences | None, *, replayed: bool = False
) -> JudgeResult:
    """A replay answers what the first time answered: the round's version, not what was judged since."""
    undone = judgment.phase == Phase.UNDONE
    return JudgeResult(
        judgment=judgment,
        claim=claim,
        version=judgment.round,
        summary=judgment.verdict.details.get("consequences", {}).get("summary", ""),
        reveal=None if undone else reveal(item),
        gold=None if undone else gold_feedback(item, judgment.verdict.label),
        consequences=found,
        replayed=replayed,
    )
