"""Saving what a person says of a record drawn: judgment, claim and outcome in one transaction, never twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.exports.certificate.claims import admit, hold_open, hold_place, lock_record, own_claim, settle_record
from apps.exports.certificate.errors import CertificateRefusedError, RecordChangedError
from apps.exports.models_certificate import Fault, SampleClaim, SampleJudgment, SampleRecord
from apps.review.models import ClaimState
from apps.review.queues.claims import LEASE
from apps.review.queues.errors import ItemLost
from apps.review.queues.said import LONGEST_COMMENT, LONGEST_SITTING_MS, clean_text
from apps.review.services import OverrideError, parse_key


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSaid:
    """As it comes from a page. `wrong` none: nothing chosen."""

    wrong: bool | None
    faults: Sequence[str] = ()
    comment: str = ""
    active_ms: int = 0


@dataclass(frozen=True, slots=True)
class RecordJudged:
    """The same request again gets the same, with `replayed`. Send `version` with the next judgment of this record."""

    judgment: SampleJudgment
    claim: SampleClaim
    version: int
    replayed: bool = False


def judge_record(
    *,
    record: SampleRecord,
    reviewer: User,
    token: UUID | str,
    said: RecordSaid,
    idempotency_key: UUID | str,
    expected_version: int | None = None,
) -> RecordJudged:
    """Save a judgment, the first or a revision. A claim that expired is good as long as the record has a free place.

    Raises NotAdmitted, CertificateRefusedError (not valid, or judging is over), ItemLost, RecordChangedError.
    """
    return _write(record, reviewer, token, _checked(said), idempotency_key, expected_version)


def undo_record(
    *, record: SampleRecord, reviewer: User, idempotency_key: UUID | str, expected_version: int | None = None
) -> RecordJudged:
    """Take one's own judgment back; the record is open again, for the same person. Raises like `judge_record`."""
    return _write(record, reviewer, None, None, idempotency_key, expected_version)


def _checked(said: RecordSaid) -> RecordSaid:
    faults = list(dict.fromkeys(said.faults))
    if said.wrong is None:
        raise CertificateRefusedError("Say whether the record is right or wrong.", field="wrong")
    if unknown := [code for code in faults if code not in Fault.values]:
        raise CertificateRefusedError(f"There is no reason {str(unknown[0])[:40]!r}.", field="faults")
    comment = clean_text(said.comment)
    if len(comment) > LONGEST_COMMENT:
        raise CertificateRefusedError(f"At most {LONGEST_COMMENT:,} characters, please.", field="comment")
    if said.wrong and not (faults or comment):
        raise CertificateRefusedError("Say what is wrong: choose a reason, or write one.", field="faults")
    if not said.wrong and faults:
        raise CertificateRefusedError("A right record has no reasons; call it wrong, or take them away.", field="wrong")
    active = min(max(said.active_ms, 0), LONGEST_SITTING_MS)
    return RecordSaid(wrong=said.wrong, faults=faults, comment=comment, active_ms=active)


def _write(
    record: SampleRecord,
    reviewer: User,
    token: UUID | str | None,
    said: RecordSaid | None,
    idempotency_key: UUID | str,
    expected_version: int | None,
) -> RecordJudged:
    """`said` none: undo."""
    admit(record.certification, reviewer)
    try:
        key = parse_key(idempotency_key)
        asked = parse_key(token)
    except OverrideError as error:
        raise CertificateRefusedError(str(error), field=error.field) from error
    if key is None:
        raise CertificateRefusedError("Send an idempotency key with each judgment.", field="idempotency_key")
    with transaction.atomic():
        open_now = hold_open(record.certification)
        locked = lock_record(record.pk)
        if (saved := SampleJudgment.objects.filter(idempotency_key=key).select_related("claim").first()) is not None:
            return _replay(saved, locked, reviewer)
        if not open_now:
            raise CertificateRefusedError("Judging is over: this certificate takes no more judgments.")
        claim = _checked_claim(locked, reviewer, asked, expected_version, undo=said is None)
        return _save(locked, claim, said, key)


def _replay(saved: SampleJudgment, record: SampleRecord, reviewer: User) -> RecordJudged:
    if (saved.record_id, saved.reviewer_id) != (record.pk, reviewer.pk):
        raise CertificateRefusedError("This idempotency key belongs to another judgment.", field="idempotency_key")
    return RecordJudged(saved, saved.claim, saved.round, replayed=True)


def _checked_claim(
    record: SampleRecord, reviewer: User, token: UUID | None, expected_version: int | None, *, undo: bool
) -> SampleClaim:
    """The person's claim, locked, once nothing speaks against writing."""
    claim = own_claim(record, reviewer)
    if not undo and token != claim.token:
        raise ItemLost("You do not hold this record. Take the next one.")
    if claim.state == ClaimState.SKIPPED:
        raise CertificateRefusedError("You have passed this record on.")
    if expected_version is not None and claim.version != expected_version:
        standing = claim.judgments.filter(current=True).first()
        raise RecordChangedError(claim, standing if standing and standing.wrong is not None else None)
    if undo and claim.state != ClaimState.JUDGED:
        raise CertificateRefusedError("There is no judgment of yours on this record to undo.")
    hold_place(record, claim)
    return claim


def _save(record: SampleRecord, claim: SampleClaim, said: RecordSaid | None, key: UUID) -> RecordJudged:
    now = timezone.now()
    claim.judgments.filter(current=True).update(current=False)
    since = int((now - claim.claimed_at).total_seconds() * 1000)
    judgment = SampleJudgment.objects.create(
        claim=claim,
        record=record,
        reviewer=claim.reviewer,
        round=claim.version + 1,
        wrong=said.wrong if said else None,
        faults=list(said.faults) if said else [],
        comment=said.comment if said else "",
        active_ms=max(min(said.active_ms, since), 0) if said else 0,
        idempotency_key=key,
    )
    claim.version += 1
    claim.state, claim.finished_at = (ClaimState.JUDGED, now) if said else (ClaimState.LIVE, None)
    claim.expires_at = now + LEASE
    claim.save(update_fields=["version", "state", "finished_at", "expires_at", "slot"])
    settle_record(record)
    return RecordJudged(judgment, claim, claim.version)
