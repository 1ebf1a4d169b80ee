"""What people decide about what leaves, how paths compare, and what they say to each other.

Every table is append-only: a new row replaces the one before, which only loses `current`.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.questions.models import Project, Question
from apps.reasoning.models import ReasoningPath, Response, Run, Tier, Verdict


class OverrideKind(models.TextChoices):
    TIER = "tier"
    CHOICE = "choice"
    RESPONSE = "response"
    PATH = "path"


class RecordOverride(models.Model):
    """A person set a question's tier, chose its paths, or wrote a response or a path. `apps.reasoning.facts` reads this table by its name.

    A tier of "" and an empty list of paths give the matter back to the rules. The text of a response is a `Response`
    of its own, that of a path the next revision of a rewritten one. One current row a kind and question; for responses and
    paths, a path.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="record_overrides", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    kind = models.CharField(max_length=8, choices=OverrideKind)
    tier = models.CharField(max_length=10, choices=Tier, blank=True)
    paths = ArrayField(models.BigIntegerField(), default=list, blank=True)  # what was chosen for the slots, in order
    path = models.ForeignKey(ReasoningPath, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    response = models.ForeignKey(Response, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    consequences = models.JSONField(default=dict)  # as they were shown and done
    current = models.BooleanField(default=True)
    replaces = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    idempotency_key = models.UUIDField(null=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("run", "question", "kind", "path"),
                name="record_override_current",
                condition=Q(current=True),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="record_override_by_kind",
                condition=Q(kind=OverrideKind.TIER, paths=[], path__isnull=True, response__isnull=True)
                | Q(kind=OverrideKind.CHOICE, tier="", path__isnull=True, response__isnull=True)
                | Q(kind=OverrideKind.RESPONSE, tier="", paths=[], path__isnull=False, response__isnull=False)
                | Q(kind=OverrideKind.PATH, tier="", paths=[], path__isnull=False, response__isnull=True),
            ),
            models.CheckConstraint(name="record_override_has_reason", condition=~Q(reason="")),
        )
        indexes = (models.Index(fields=("run", "question"), name="record_override_of_question"),)


class Decision(models.TextChoices):
    ACCEPTED = "accepted", "Accepted"
    RETURNED = "returned", "Returned"
    EXCLUDED = "excluded", "Excluded"
    WITHDRAWN = "withdrawn", "Decision taken back"


class Again(models.TextChoices):
    RESPONSE = "response", "The response alone"
    PATH = "path", "The path: it gets an Error verdict"


class RecordDecision(models.Model):
    """What a person decided about one record, as it was when they read it. `apps.reasoning.facts` reads `excluded` by name.

    An acceptance is worth something only while the record's content still has `content_hash`. An exclusion holds for the
    kept path whatever its response. A return makes the response stale, or gives the path the Error verdict named here.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="record_decisions", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    slot = models.PositiveSmallIntegerField()
    path = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="+", db_index=False)
    response = models.ForeignKey(Response, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    decision = models.CharField(max_length=10, choices=Decision)
    again = models.CharField(max_length=10, choices=Again, blank=True)  # what a returned record's maker does again
    verdict = models.ForeignKey(Verdict, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    reason = models.TextField(blank=True)
    content_hash = models.CharField(max_length=64, blank=True)  # records.content.hash_of; "" while it was not whole
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    consequences = models.JSONField(default=dict)
    current = models.BooleanField(default=True)
    replaces = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    idempotency_key = models.UUIDField(null=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "path"), name="record_decision_current", condition=Q(current=True)),
            models.CheckConstraint(
                name="record_decision_says_why",
                condition=Q(decision__in=(Decision.ACCEPTED, Decision.WITHDRAWN)) | ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="record_decision_again_when_returned",
                condition=(Q(decision=Decision.RETURNED) & ~Q(again=""))
                | (~Q(decision=Decision.RETURNED) & Q(again="")),
            ),
            models.CheckConstraint(
                name="record_decision_accepts_content",
                condition=~Q(decision=Decision.ACCEPTED) | (~Q(content_hash="") & Q(response__isnull=False)),
            ),
        )
        indexes = (
            models.Index(fields=("run", "question"), name="record_decision_of_question"),
            models.Index(
                fields=("run", "path"), name="record_accepted", condition=Q(current=True, decision=Decision.ACCEPTED)
            ),
        )


class Mark(models.TextChoices):
    FIXED = "fixed", "Fixed"
    PRESENT = "present", "Still there"
    NEW = "new", "New"


class ReasonMark(models.Model):
    """What became of a reason given against a path, in another path compared with it; settled by a person.

    `verdict` holds the reason, `part` is its place among the verdict's (`compare.reasons.split_reason`, from 0).
    """

    verdict = models.ForeignKey(Verdict, on_delete=models.PROTECT, related_name="+", db_index=False)
    part = models.PositiveSmallIntegerField()
    before = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="+", db_index=False)
    after = models.ForeignKey(ReasoningPath, on_delete=models.PROTECT, related_name="+")
    mark = models.CharField(max_length=8, choices=Mark)
    suggested = models.CharField(max_length=8, choices=Mark, blank=True)  # what the rule said then
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    current = models.BooleanField(default=True)
    replaces = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("verdict", "part", "before", "after"), name="reason_mark_current", condition=Q(current=True)
            ),
        )


class Comment(models.Model):
    """A word about a question: plain text. A thread is a comment without `thread` and its answers; only `resolved_…` change."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="comments", db_index=False)
    question = models.ForeignKey(Question, on_delete=models.PROTECT, related_name="+", db_index=False)
    run = models.ForeignKey(
        Run, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )  # where it was said
    path = models.ForeignKey(ReasoningPath, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    thread = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="answers")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    idempotency_key = models.UUIDField(null=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = (
            models.CheckConstraint(name="comment_has_text", condition=~Q(text="")),
            models.CheckConstraint(
                name="comment_resolved_by_someone",
                condition=Q(resolved_at__isnull=True, resolved_by__isnull=True)
                | Q(resolved_at__isnull=False, resolved_by__isnull=False),
            ),
            models.CheckConstraint(
                name="comment_answers_are_not_resolved", condition=Q(thread__isnull=True) | Q(resolved_at__isnull=True)
            ),
        )
        indexes = (models.Index(fields=("question", "project", "id"), name="comment_of_question"),)


class Mention(models.Model):
    """A comment speaks to a person; `seen_at` is set once they opened its thread or marked it read."""

    comment = models.ForeignKey(Comment, on_delete=models.PROTECT, related_name="mentions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("comment", "user"), name="mention_once"),)
        indexes = (
            models.Index(fields=("user", "id"), name="mention_of_user"),
            models.Index(fields=("user",), name="mention_unseen", condition=Q(seen_at__isnull=True)),
        )
