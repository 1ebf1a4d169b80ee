"""What people judge and say: queues with their items, claims, judgments, skips, and flags on questions."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F, Q

from apps.questions.access import CURATOR, roles_of
from apps.questions.models import Project, Question
from apps.reasoning.models import Label, ReasoningPath, Run, Verdict


class QueueState(models.TextChoices):
    OPEN = "open"
    PAUSED = "paused"  # nothing new is handed out; what is open on a screen may still be saved
    CLOSED = "closed"  # takes nothing any more


class ClaimState(models.TextChoices):
    LIVE = "live"  # on someone's screen; lapses when `expires_at` is past
    JUDGED = "judged"
    SKIPPED = "skipped"
    RELEASED = "released"  # by a curator, or because the question was set aside


class Phase(models.TextChoices):
    FIRST = "first"
    REVISED = "revised"  # after another judgment of the same person, as a rule after the judge's was shown
    UNDONE = "undone"  # the person took it back; the verdict says unjudged


class Reason(models.TextChoices):
    """What is wrong with a path. The axis each one fails when the reviewer names none: `queues.words.REASON_AXIS`."""

    WRONG_FACT = "wrong_fact", "Wrong fact"
    MISSED_FINDING = "missed_finding", "Missed finding"
    OPTION_NOT_EVALUATED = "option_not_evaluated", "Option not evaluated"
    FAULTY_LOGIC = "faulty_logic", "Faulty logic"
    UNSAFE_ADVICE = "unsafe_advice", "Unsafe advice"
    OUTDATED_GUIDELINE = "outdated_guideline", "Outdated guideline"
    WRONG_ANSWER = "wrong_answer", "Wrong answer"
    OTHER = "other", "Other"


class Harm(models.TextChoices):
    """What following the path could do to a patient; empty: not said."""

    NONE = "none", "No harm"
    MILD = "mild", "Mild harm"
    MODERATE = "moderate", "Moderate harm"
    SEVERE = "severe", "Severe harm or death"


class SkipReason(models.TextChoices):
    NOT_MY_SPECIALTY = "not_my_specialty", "Not my specialty"
    UNSURE = "unsure", "I cannot decide"
    UNREADABLE = "unreadable", "The path cannot be read"
    CONFLICT = "conflict", "I should not judge this one"
    OTHER = "other", "Other"


class FlagKind(models.TextChoices):
    KEY_WRONG = "key_wrong", "The key is wrong"
    AMBIGUOUS = "ambiguous", "The question is ambiguous"
    OUTDATED = "outdated", "The question is outdated"


class FlagState(models.TextChoices):
    OPEN = "open"
    UPHELD = "upheld"  # an adjudicator agrees: the question stays set aside
    REVOKED = "revoked"  # the question is sound and comes back


class ReviewQueueQuerySet(models.QuerySet["ReviewQueue"]):
    def visible_to(self, user: User) -> ReviewQueueQuerySet:
        """Queues the person may work in; curators see all of them."""
        roles = roles_of(user)
        if CURATOR in roles:
            return self
        named = ReviewQueue.reviewers.through.objects.filter(user=user).values("reviewqueue_id")
        return self.filter(Q(role__in=roles) | Q(pk__in=named))


class ReviewQueue(models.Model):
    """Paths of a run to be judged by people. `plan` is `apps.review.queues.plans.SamplingPlan` as JSON.

    `counts`: its verdicts count for labels and tiers; otherwise they only measure (calibration, certificates, practice).
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="queues")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="queues")
    name = models.CharField(max_length=100)
    plan = models.JSONField()
    overlap = models.PositiveSmallIntegerField(default=1)  # people who judge each item
    blind = models.BooleanField(default=True)  # the judge's verdict, the generator and its temperature come after
    counts = models.BooleanField(default=True)
    feedback = models.BooleanField(default=False)  # gold items tell the person what was right, after judging
    practice = models.BooleanField(default=False)
    role = models.CharField(max_length=20, blank=True)  # who may work in it; empty: the named reviewers alone
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+", blank=True)
    state = models.CharField(max_length=8, choices=QueueState, default=QueueState.OPEN)
    size = models.PositiveIntegerField(default=0)  # items
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[ReviewQueue]] = ReviewQueueQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("project", "name"), name="review_queue_name"),
            models.CheckConstraint(name="review_queue_overlap", condition=Q(overlap__gte=1)),
            models.CheckConstraint(
                name="review_queue_practice_never_counts", condition=Q(practice=False) | Q(counts=False)
            ),
        )

    def __str__(self) -> str:
        return self.name

    def visible_to(self, user: User) -> bool:
        """Whether the person may know of it, as `ReviewQueueQuerySet.visible_to`."""
        return CURATOR in roles_of(user) or self.admits(user)

    def admits(self, user: User) -> bool:
        """Whether the person may judge in it."""
        return (bool(self.role) and self.role in roles_of(user)) or self.reviewers.filter(pk=user.pk).exists()


class QueueItem(models.Model):
    """A path in a queue. `taken` and `free_at` let one statement find an item with a free place (queues.claims)."""

    queue = models.ForeignKey(ReviewQueue, on_delete=models.PROTECT, related_name="items", db_index=False)
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="+")
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField()  # 1-based order in which items are handed out
    stratum = models.CharField(max_length=120, blank=True)
    inclusion_probability = models.FloatField(null=True)  # none where the plan is no probability sample
    priority = models.FloatField(default=0)  # why it comes early: for tier_flip, P(the true tier is another one)
    gold_label = models.CharField(max_length=10, choices=Label, blank=True)  # what is known to be right
    gold_reason = models.TextField(blank=True)
    taken = models.PositiveSmallIntegerField(default=0)  # claims that hold a place
    free_at = models.DateTimeField(null=True)  # not later than the first live claim's expiry; heartbeats outrun it
    done = models.PositiveSmallIntegerField(default=0)  # people who judged it
    set_aside = models.BooleanField(default=False)  # its question is flagged, or the path was replaced
    open = models.BooleanField(default=True)  # wants more judgments

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("queue", "path"), name="queue_item_path"),
            models.UniqueConstraint(fields=("queue", "position"), name="queue_item_position"),
            models.CheckConstraint(
                name="queue_item_probability",
                condition=Q(inclusion_probability__isnull=True)
                | Q(inclusion_probability__gt=0, inclusion_probability__lte=1),
            ),
            models.CheckConstraint(name="queue_item_gold_decided", condition=~Q(gold_label=Label.UNJUDGED)),
            models.CheckConstraint(name="queue_item_done_within_taken", condition=Q(done__lte=F("taken"))),
            models.CheckConstraint(name="queue_item_aside_is_not_open", condition=Q(set_aside=False) | Q(open=False)),
        )
        indexes = (
            models.Index(fields=("queue", "position"), name="queue_item_open", condition=Q(open=True)),
            models.Index(fields=("queue",), name="queue_item_touched", condition=Q(done__gt=0) | Q(open=False)),
        )


class QueueCount(models.Model):
    """How far a queue is, kept by triggers on its items and spread over shards; sum the shards to read.

    So that nothing has to count a queue of a million items, and no two who save wait for one row.
    """

    queue = models.ForeignKey(ReviewQueue, on_delete=models.CASCADE, related_name="counts_by_shard", db_index=False)
    shard = models.PositiveSmallIntegerField()
    judgments = models.BigIntegerField(default=0)  # sum of `done`
    finished = models.BigIntegerField(default=0)  # items that are neither open nor set aside
    set_aside = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("queue", "shard"), name="queue_count_shard"),)


class Claim(models.Model):
    """One person on one item. `slot` (1…overlap) is the place it holds; a claim without one holds nothing.

    A live claim that expired keeps its slot until someone else wants the place.
    """

    item = models.ForeignKey(QueueItem, on_delete=models.PROTECT, related_name="claims", db_index=False)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    token = models.UUIDField(default=uuid.uuid4)
    state = models.CharField(max_length=8, choices=ClaimState, default=ClaimState.LIVE)
    slot = models.PositiveSmallIntegerField(null=True)
    version = models.PositiveSmallIntegerField(default=0)  # rises with each judgment and undo of this person
    claimed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)  # judged or skipped
    revealed_at = models.DateTimeField(null=True)  # the judge's verdict was shown; later judgments are not blind
    kept_at = models.DateTimeField(null=True)  # the person saw it and kept their own

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("item", "reviewer"), name="claim_of_reviewer"),
            models.UniqueConstraint(fields=("item", "slot"), name="claim_slot"),
            models.CheckConstraint(name="claim_slot_from_one", condition=Q(slot__isnull=True) | Q(slot__gte=1)),
            models.CheckConstraint(
                name="claim_slot_by_state",
                condition=Q(state=ClaimState.LIVE)
                | Q(state=ClaimState.JUDGED, slot__isnull=False)
                | Q(state__in=(ClaimState.SKIPPED, ClaimState.RELEASED), slot__isnull=True),
            ),
        )
        indexes = (
            models.Index(fields=("reviewer", "item"), name="claim_live", condition=Q(state=ClaimState.LIVE)),
            models.Index(fields=("reviewer", "finished_at"), name="claim_finished"),
        )


class Judgment(models.Model):
    """What a person said of an item, beside the verdict it became; append-only, one a person and round."""

    verdict = models.OneToOneField(Verdict, on_delete=models.PROTECT, related_name="judgment")
    item = models.ForeignKey(QueueItem, on_delete=models.PROTECT, related_name="judgments")
    claim = models.ForeignKey(Claim, on_delete=models.PROTECT, related_name="judgments", db_index=False)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    round = models.PositiveSmallIntegerField()  # 1-based, of this person on this item
    phase = models.CharField(max_length=8, choices=Phase)
    blind = models.BooleanField()  # given before the judge's verdict was shown, in a blind queue
    active_ms = models.PositiveIntegerField(default=0)  # time at work on it, as the page measured it
    reasons = models.JSONField(default=list, blank=True)  # codes of Reason
    harm = models.CharField(max_length=10, choices=Harm, blank=True)
    sentences = models.JSONField(default=list, blank=True)  # [[splitter version, number, quoted text], …]
    comment = models.TextField(blank=True)
    flagged = models.BooleanField(default=False)  # the person wants someone to look at it
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("claim", "round"), name="judgment_round"),
            models.CheckConstraint(name="judgment_round_from_one", condition=Q(round__gte=1)),
        )
        indexes = (models.Index(fields=("reviewer", "created_at"), name="judgment_of_reviewer"),)


class Skip(models.Model):
    """A person passed an item on; it never comes back to them."""

    item = models.ForeignKey(QueueItem, on_delete=models.PROTECT, related_name="skips", db_index=False)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=20, choices=SkipReason)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("item", "reviewer"), name="skip_of_reviewer"),)


class QuestionFlag(models.Model):
    """Someone says that a question is not sound. While it is open or upheld, every run of the project excludes it.

    `apps.reasoning.facts` reads this table by its name. Only `state` and the `resolved_…` columns ever change.
    """

    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="flagged_by", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=FlagKind)
    note = models.TextField(blank=True)
    item = models.ForeignKey(QueueItem, null=True, on_delete=models.PROTECT, related_name="+")  # where it was raised
    state = models.CharField(max_length=8, choices=FlagState, default=FlagState.OPEN)
    idempotency_key = models.UUIDField(null=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    resolution = models.TextField(blank=True)  # why

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("question", "project", "reviewer", "kind"),
                name="question_flag_once",
                condition=~Q(state=FlagState.REVOKED),
            ),
            models.CheckConstraint(
                name="question_flag_resolved_by",
                condition=Q(state=FlagState.OPEN, resolved_at__isnull=True, resolved_by__isnull=True)
                | (~Q(state=FlagState.OPEN) & Q(resolved_at__isnull=False, resolved_by__isnull=False)),
            ),
        )
        indexes = (
            models.Index(
                fields=("question", "project"), name="question_invalid", condition=~Q(state=FlagState.REVOKED)
            ),
        )


class Units(models.TextChoices):
    CONVENTIONAL = "conventional", "Conventional"
    SI = "si", "SI"


class ReviewSettings(models.Model):
    """How a person likes the review screen; the same on every machine. Without a row: the defaults."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="review_settings")
    single_keys = models.BooleanField(default=True)  # off: only Tab, Enter and Ctrl+Enter do something
    units = models.CharField(max_length=12, choices=Units, default=Units.CONVENTIONAL)
    text_size = models.CharField(max_length=1, choices=(("s", "Small"), ("m", "Normal"), ("l", "Large")), default="m")
    practised_at = models.DateTimeField(null=True)  # went through the practice items, or passed them by


from apps.review import models_records as models_records  # noqa: E402 - one app, two files of models
