"""Handing out records drawn: each place of a record to one person at a time, as review queues hand out paths.

The sequence matters here: a sequential test follows the records in the order drawn, so the earliest free one is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.standing import plan_of, standing_of
from apps.exports.models_certificate import Certification, CertificationState, Outcome, SampleClaim, SampleRecord
from apps.review.models import ClaimState, SkipReason
from apps.review.queues.claims import LEASE
from apps.review.queues.errors import ItemLost, NotAdmitted

LOCK = "FOR NO KEY UPDATE OF i SKIP LOCKED"
WAIT = "FOR NO KEY UPDATE OF i"  # when all that is free is being handed out at this moment: nobody goes away empty

# Nobody judges what they had a hand in: a path they judged, a record they decided on, a response they wrote.
_UNTOUCHED = """
  AND NOT EXISTS (SELECT 1 FROM reasoning_verdict v WHERE v.path_id = coalesce(i.planted_id, h.path_id) AND v.reviewer_id = %(reviewer)s
                  AND v.current AND v.label <> 'unjudged')
  AND NOT EXISTS (SELECT 1 FROM review_recorddecision d WHERE d.path_id = h.path_id AND d.by_id = %(reviewer)s
                  AND d.current AND d.decision <> 'withdrawn')
  AND NOT EXISTS (SELECT 1 FROM reasoning_response r WHERE r.id = h.response_id AND r.author_id = %(reviewer)s)
  AND (i.planted_id IS NULL OR NOT EXISTS (
    SELECT 1 FROM exports_samplejudgment j JOIN exports_samplerecord s ON s.id = j.record_id
    JOIN exports_snapshotrecord t ON t.id = s.held_id
    WHERE j.reviewer_id = %(reviewer)s AND s.id <> i.id AND coalesce(s.planted_id, t.path_id) = i.planted_id))"""
# `taken` and `free_at` are columns of the row that is locked, so PostgreSQL looks at them again once it has the lock.
_CANDIDATE = f"""
SELECT i.* FROM exports_samplerecord i JOIN exports_snapshotrecord h ON h.id = i.held_id
WHERE i.certification_id = %(study)s AND i.outcome = '' AND (i.taken < %(overlap)s OR i.free_at <= %(now)s)
  AND i.id <> ALL(%(passed)s)
  AND NOT EXISTS (SELECT 1 FROM exports_sampleclaim c WHERE c.record_id = i.id AND c.reviewer_id = %(reviewer)s
                  AND c.state <> 'released'){_UNTOUCHED}
ORDER BY i.position LIMIT 1 """  # noqa: S608


def claim_next(*, study: Certification, reviewer: User) -> SampleClaim | None:
    """The record the person left open, else the next one free for them; none when nothing comes (`why_none`).

    Raises NotAdmitted.
    """
    admit(study, reviewer)
    if not study.is_open or standing_of(study).decided:
        return None
    with transaction.atomic():
        with connection.cursor() as cursor:  # two windows of one person wait for each other
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('certificate'), %s)", [reviewer.pk % 2**31])
        if (held := _resume(study, reviewer)) is not None:
            return held
        passed: list[int] = []
        while True:
            record = _candidate(study, reviewer, passed, LOCK) or _candidate(study, reviewer, passed, WAIT)
            if record is None:
                return None
            if (claim := _take(record, reviewer)) is not None:
                return claim
            passed.append(record.pk)  # its claims are alive after all; `free_at` is right now


def heartbeat(*, study: Certification, reviewer: User) -> int:
    """Keep the person's open record theirs for another LEASE; how many they still hold."""
    live = SampleClaim.objects.filter(
        record__certification=study, reviewer=reviewer, state=ClaimState.LIVE, slot__isnull=False
    )
    with transaction.atomic():  # one that is locked is being saved at this moment: it needs no heartbeat
        ids = list(live.select_for_update(no_key=True, skip_locked=True, of=("self",)).values_list("pk", flat=True))
        SampleClaim.objects.filter(pk__in=ids).update(expires_at=timezone.now() + LEASE)
    return live.count()


def skip_record(*, record: SampleRecord, reviewer: User, reason: str) -> SampleClaim:
    """Pass it on to someone else; it never comes back to this person. The same again: the same answer.

    A record that nobody judges keeps the sample from being whole, so skipping flatters nothing.
    """
    if reason not in SkipReason.values:
        raise CertificateRefusedError("Choose why you pass it on.", field="reason")
    admit(record.certification, reviewer)
    with transaction.atomic():
        locked = lock_record(record.pk)
        claim = own_claim(locked, reviewer)
        if claim.state == ClaimState.JUDGED:
            raise CertificateRefusedError("You have judged this record. Undo that first.")
        claim.state, claim.slot, claim.skip_reason = ClaimState.SKIPPED, None, reason
        claim.finished_at = timezone.now()
        claim.save(update_fields=["state", "slot", "skip_reason", "finished_at"])
        settle_record(locked)
    return claim


def release_records(*, study: Certification) -> int:
    """Take claims that are not judged away, and give back to people what they passed on, so that it can be judged after
    all. How many."""
    given_up = SampleClaim.objects.filter(record__certification=study, state__in=(ClaimState.LIVE, ClaimState.SKIPPED))
    released = 0
    with transaction.atomic():
        for record_id in given_up.order_by("record").values_list("record", flat=True).distinct():
            locked = lock_record(record_id)
            released += given_up.filter(record=locked).update(state=ClaimState.RELEASED, slot=None, skip_reason="")
            settle_record(locked)
    return released


def admit(study: Certification, user: User) -> None:
    """Raises NotAdmitted for someone who may not judge these records."""
    if not study.admits(user):
        raise NotAdmitted("These records are for other people to judge; ask a curator.")


def hold_open(study: Certification) -> bool:
    """Whether judging goes on; it does until this transaction ends. Locks: certification, records, claims."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM exports_certification WHERE id = %s FOR SHARE", [study.pk])
        return bool(cursor.fetchone()[0] == CertificationState.OPEN)


def lock_record(record_id: int) -> SampleRecord:
    rows = SampleRecord.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("certification__snapshot").get(pk=record_id)


def own_claim(record: SampleRecord, reviewer: User) -> SampleClaim:
    """Raises ItemLost."""
    claim = SampleClaim.objects.select_for_update(no_key=True).filter(record=record, reviewer=reviewer).first()
    if claim is None:
        raise ItemLost("You do not hold this record. Take the next one.")
    claim.record, claim.reviewer = record, reviewer
    return claim


def hold_place(record: SampleRecord, claim: SampleClaim) -> None:
    """One that lapsed or was released takes a free place again. Raises ItemLost when none is left."""
    if claim.slot is None:
        claim.slot = _free_slot(record)
        if claim.slot is None:
            raise ItemLost("Someone else took this record while you were away. Your judgment was not saved.")


_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE c.state = 'judged'), min(c.expires_at) FILTER (WHERE c.state = 'live'),
  (SELECT count(*) FROM exports_samplejudgment j WHERE j.record_id = %(record)s AND j.current AND j.wrong)
FROM exports_sampleclaim c WHERE c.record_id = %(record)s AND c.slot IS NOT NULL"""


def settle_record(record: SampleRecord) -> None:
    """Bring counts and outcome in line with the claims and judgments; the record is locked."""
    study = record.certification
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"record": record.pk})
        record.taken, record.done, record.free_at, said_wrong = cursor.fetchone()
    record.outcome = ""
    if record.done >= study.overlap:
        record.outcome = Outcome.WRONG if plan_of(study).wrong(said_wrong) else Outcome.RIGHT
    record.save(update_fields=["taken", "done", "free_at", "outcome"])


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why nothing comes: closed, decided, done, claimed, or yours_done."""

    code: str
    words: str
    until: datetime | None = None


def why_none(study: Certification, reviewer: User) -> Nothing:
    """In words for the person who gets nothing; without telling what the judgments so far show."""
    if not study.is_open or standing_of(study).decided:
        return Nothing("closed", "Judging is over: no more records of this certificate are handed out.")
    waiting = SampleRecord.objects.filter(certification=study, outcome="")
    if not waiting.exists():
        return Nothing("done", f"All {study.sample.count():,} records are judged.")
    live = SampleClaim.objects.filter(
        record__certification=study, state=ClaimState.LIVE, slot__isnull=False, expires_at__gt=timezone.now()
    ).exclude(reviewer=reviewer)
    first = live.order_by("expires_at").values_list("expires_at", flat=True).first()
    if first is not None:
        zone = timezone.get_current_timezone_name()
        when = timezone.localtime(first).strftime("%H:%M")
        return Nothing(
            "claimed", f"The last records are with other reviewers until {when} {zone} at the earliest.", first
        )
    return Nothing(
        "yours_done",
        "You have judged or passed on everything you can here. What is left is for other people: records whose path, "
        "response or acceptance is yours are not given to you.",
    )


def waiting_for(studies: list[Certification], reviewer: User) -> set[int]:
    """Which of the open studies have a record for the person, as far as their free places say; the id of each."""
    found = set()
    for study in studies:
        resumable = SampleClaim.objects.filter(
            record__certification=study, reviewer=reviewer, state=ClaimState.LIVE
        ).exists()
        with connection.cursor() as cursor:
            cursor.execute(_CANDIDATE, _parameters(study, reviewer, []))
            free = resumable or bool(cursor.fetchone())
        if free and not standing_of(study).decided:
            found.add(study.pk)
    return found


def _resume(study: Certification, reviewer: User) -> SampleClaim | None:
    """The live claim of the person, kept for another LEASE; one whose place is gone is dropped."""
    live = SampleClaim.objects.filter(record__certification=study, reviewer=reviewer, state=ClaimState.LIVE)
    for claim_id, record_id in live.order_by("record__position").values_list("pk", "record_id"):
        record = lock_record(record_id)
        claim = own_claim(record, reviewer)
        if claim.pk != claim_id or claim.state != ClaimState.LIVE:
            continue
        if claim.slot is None:
            claim.slot = _free_slot(record)
        claim.state = ClaimState.LIVE if claim.slot is not None else ClaimState.RELEASED
        claim.expires_at = timezone.now() + LEASE
        claim.save(update_fields=["slot", "state", "expires_at"])
        settle_record(record)
        if claim.state == ClaimState.LIVE:
            return claim
    return None


def _candidate(study: Certification, reviewer: User, passed: list[int], lock: str) -> SampleRecord | None:
    rows = SampleRecord.objects.raw(_CANDIDATE + lock, _parameters(study, reviewer, passed))
    record = next(iter(rows), None)
    if record is not None:
        record.certification = study
    return record


def _take(record: SampleRecord, reviewer: User) -> SampleClaim | None:
    """A claim on the locked record; none when every place is held after all."""
    slot = _free_slot(record)
    claim = None
    if slot is not None:
        now = timezone.now()
        fields: dict[str, Any] = {"state": ClaimState.LIVE, "slot": slot, "claimed_at": now, "expires_at": now + LEASE}
        mine = SampleClaim.objects.filter(record=record, reviewer=reviewer)
        claim = (
            mine.get()
            if mine.update(**fields)
            else SampleClaim.objects.create(record=record, reviewer=reviewer, **fields)
        )
        claim.record = record
    settle_record(record)
    return claim


def _free_slot(record: SampleRecord) -> int | None:
    """The lowest place that nobody holds; live claims that expired lose theirs now that it is wanted."""
    claims, overlap = SampleClaim.objects.filter(record=record), record.certification.overlap
    held = set(claims.filter(slot__isnull=False).values_list("slot", flat=True))
    if len(held) >= overlap:
        claims.filter(state=ClaimState.LIVE, expires_at__lte=timezone.now()).update(slot=None)
        held = set(claims.filter(slot__isnull=False).values_list("slot", flat=True))
    return next((n for n in range(1, overlap + 1) if n not in held), None)


def _parameters(study: Certification, reviewer: User, passed: list[int]) -> dict[str, Any]:
    return {
        "study": study.pk,
        "overlap": study.overlap,
        "reviewer": reviewer.pk,
        "now": timezone.now(),
        "passed": passed,
    }
