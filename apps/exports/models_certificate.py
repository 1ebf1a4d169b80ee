"""Certificates: a sample of an export's records, what people said of each, and what that shows.

These judgments only measure. They are kept apart from the verdicts of review queues: a record is a path *and* its response,
and nothing said here moves a label, a tier or the agreement between reviewers.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F, Q

from apps.exports.models import Snapshot, SnapshotRecord
from apps.questions.access import roles_of
from apps.reasoning.models import ReasoningPath
from apps.review.models import ClaimState, Reason, SkipReason


class CertificationState(models.TextChoices):
    OPEN = "open"  # records are handed out and judged
    SIGNING = "signing"  # nothing is judged any more; a worker writes the certificate
    PUBLISHED = "published"  # certificate.json and certificate.sig lie beside the records
    ENDED = "ended"  # given up after records were judged; these records are not certified any more
    WITHDRAWN = "withdrawn"  # given up before anything was judged: as if it had not been


class Outcome(models.TextChoices):
    """What the reviewers of a record say together, by the certification's rule; empty while some are missing."""

    RIGHT = "right"
    WRONG = "wrong"


class Fault(models.TextChoices):
    """What is wrong with a record: the reasons against a path, and what only a record can have."""

    WRONG_FACT = Reason.WRONG_FACT.value, "Wrong fact"
    MISSED_FINDING = Reason.MISSED_FINDING.value, "Missed finding"
    OPTION_NOT_EVALUATED = Reason.OPTION_NOT_EVALUATED.value, "Option not evaluated"
    FAULTY_LOGIC = Reason.FAULTY_LOGIC.value, "Faulty logic"
    UNSAFE_ADVICE = Reason.UNSAFE_ADVICE.value, "Unsafe advice"
    OUTDATED_GUIDELINE = Reason.OUTDATED_GUIDELINE.value, "Outdated guideline"
    WRONG_ANSWER = Reason.WRONG_ANSWER.value, "Wrong answer"
    RESPONSE_DIFFERS = "response_differs", "Response differs from reasoning"
    QUESTION_UNSOUND = "question_unsound", "The question or its key is wrong"
    OTHER = Reason.OTHER.value, "Other"


class Certification(models.Model):
    """A study of one export's records. `plan` is `certificate.plan.CertificatePlan` as JSON; it and the seed never change.

    A root has one study that does not count as withdrawn: records that were studied are corrected, not studied again
    until they please.
    """

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="certifications")
    root = models.CharField(max_length=64)  # Merkle root over the records it speaks of
    plan = models.JSONField()
    seed = models.CharField(max_length=200)  # fixed before anything was drawn
    overlap = models.PositiveSmallIntegerField(default=1)  # people who judge each record
    role = models.CharField(max_length=20, blank=True)  # who may judge; empty: the named reviewers alone
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+", blank=True)
    state = models.CharField(max_length=10, choices=CertificationState, default=CertificationState.OPEN)
    records = models.PositiveIntegerField()  # of the export, in each set
    strata = models.JSONField()  # [[name, records, drawn], …] in their order
    size = models.PositiveIntegerField()  # records drawn
    document = models.JSONField(null=True)  # what certificate.json says, once judging is over
    error = models.CharField(max_length=500, blank=True)  # why it could not be written
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("root",), name="certification_of_root", condition=~Q(state=CertificationState.WITHDRAWN)
            ),
            models.CheckConstraint(name="certification_overlap", condition=Q(overlap__gte=1)),
            models.CheckConstraint(
                name="certification_draws_something", condition=Q(size__gte=1, size__lte=F("records"))
            ),
            models.CheckConstraint(
                name="certification_document_when_over",
                condition=Q(
                    state__in=(CertificationState.SIGNING, CertificationState.PUBLISHED), document__isnull=False
                )
                | Q(
                    state__in=(CertificationState.OPEN, CertificationState.ENDED, CertificationState.WITHDRAWN),
                    document__isnull=True,
                ),
            ),
        )

    def __str__(self) -> str:
        return f"Certificate of {self.snapshot}"

    @property
    def is_open(self) -> bool:
        return self.state == CertificationState.OPEN

    @property
    def drawn(self) -> models.QuerySet[SampleRecord]:
        """The records of the sample, in the order drawn, without what was mixed among them."""
        return SampleRecord.objects.filter(certification=self, planted=None).order_by("position")

    @property
    def known_faults(self) -> models.QuerySet[SampleRecord]:
        return SampleRecord.objects.filter(certification=self, planted__isnull=False).order_by("position")

    def admits(self, user: User) -> bool:
        """Whether the person may judge its records."""
        return (bool(self.role) and self.role in roles_of(user)) or self.reviewers.filter(pk=user.pk).exists()


class SampleRecord(models.Model):
    """A record drawn, or a known fault mixed among them. `taken` and `free_at` let one statement find one with a free
    place (certificate.claims)."""

    certification = models.ForeignKey(Certification, on_delete=models.PROTECT, related_name="sample", db_index=False)
    held = models.ForeignKey(SnapshotRecord, on_delete=models.PROTECT, related_name="+")  # its question, path, response
    planted = models.ForeignKey(  # a known fault: the path that is shown in the place of the record's own
        ReasoningPath, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    number = models.PositiveIntegerField()  # its place in each set, from 0
    position = models.PositiveIntegerField()  # 1-based, in the order in which they are handed out
    stratum = models.CharField(max_length=100)
    taken = models.PositiveSmallIntegerField(default=0)  # claims that hold a place
    free_at = models.DateTimeField(null=True)  # not later than the first live claim's expiry
    done = models.PositiveSmallIntegerField(default=0)  # people who judged it
    outcome = models.CharField(max_length=5, choices=Outcome, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("certification", "number"), name="sample_record_number", condition=Q(planted=None)
            ),
            models.UniqueConstraint(fields=("certification", "planted"), name="sample_record_planted"),
            models.UniqueConstraint(fields=("certification", "position"), name="sample_record_position"),
            models.CheckConstraint(name="sample_record_done_within_taken", condition=Q(done__lte=F("taken"))),
            models.CheckConstraint(name="sample_record_outcome_of_some", condition=Q(outcome="") | Q(done__gte=1)),
        )
        indexes = (
            models.Index(fields=("certification", "position"), name="sample_record_open", condition=Q(outcome="")),
        )


class SampleClaim(models.Model):
    """One person on one record drawn. `slot` (1…overlap) is the place it holds; a claim without one holds nothing."""

    record = models.ForeignKey(SampleRecord, on_delete=models.PROTECT, related_name="claims", db_index=False)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    token = models.UUIDField(default=uuid.uuid4)
    state = models.CharField(max_length=8, choices=ClaimState, default=ClaimState.LIVE)
    slot = models.PositiveSmallIntegerField(null=True)
    version = models.PositiveSmallIntegerField(default=0)  # rises with each judgment and undo of this person
    skip_reason = models.CharField(max_length=20, choices=SkipReason, blank=True)
    claimed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)  # judged or passed on

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("record", "reviewer"), name="sample_claim_of_reviewer"),
            models.UniqueConstraint(fields=("record", "slot"), name="sample_claim_slot"),
            models.CheckConstraint(
                name="sample_claim_slot_by_state",
                condition=Q(state=ClaimState.LIVE)
                | Q(state=ClaimState.JUDGED, slot__gte=1)
                | Q(state__in=(ClaimState.SKIPPED, ClaimState.RELEASED), slot__isnull=True),
            ),
        )
        indexes = (models.Index(fields=("reviewer", "state", "record"), name="sample_claim_of_person"),)


class SampleJudgment(models.Model):
    """What a person said of a record drawn; append-only, one a person and round. `wrong` none: taken back."""

    claim = models.ForeignKey(SampleClaim, on_delete=models.PROTECT, related_name="judgments", db_index=False)
    record = models.ForeignKey(SampleRecord, on_delete=models.PROTECT, related_name="judgments")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    round = models.PositiveSmallIntegerField()  # 1-based
    wrong = models.BooleanField(null=True)
    faults = models.JSONField(default=list, blank=True)  # codes of Fault
    comment = models.TextField(blank=True)
    active_ms = models.PositiveIntegerField(default=0)
    current = models.BooleanField(default=True)  # the latest of its claim
    idempotency_key = models.UUIDField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("claim", "round"), name="sample_judgment_round"),
            models.UniqueConstraint(fields=("claim",), name="sample_judgment_current", condition=Q(current=True)),
            models.CheckConstraint(name="sample_judgment_round_from_one", condition=Q(round__gte=1)),
            models.CheckConstraint(
                name="sample_judgment_faults_of_wrong",
                condition=Q(wrong=True) | Q(faults=[]),
            ),
        )
