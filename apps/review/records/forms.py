"""Forms of what people change about records. Each shows what follows before it can be saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib.auth.models import User

from apps.reasoning.desk import Desk
from apps.reasoning.facts import policy_of
from apps.reasoning.models import ReasoningPath, Tier
from apps.review.consequences import Consequences
from apps.review.models_records import Again, OverrideKind, RecordOverride
from apps.review.records import decisions, overrides, rewriting
from apps.review.records.decisions import Record
from apps.review.records.saving import Saved
from apps.review.services import AXES, OverrideError

NEEDS_RECORD = "This question keeps no such record."


class ChangeForm(forms.Form):
    """`about`: the fields that decide what follows. `shown` names the values whose consequences the person saw."""

    kind: ClassVar[str]
    title: ClassVar[str]
    verb: ClassVar[str]
    lead: ClassVar[str] = ""
    about: ClassVar[tuple[str, ...]] = ()
    with_record: ClassVar[bool] = True

    reason = forms.CharField(max_length=4000, error_messages={"required": "Give the reason, one sentence is enough."})
    version = forms.IntegerField(min_value=0)
    idempotency_key = forms.UUIDField(initial=uuid4)
    shown = forms.CharField(required=False, max_length=64)

    def __init__(self, data: Mapping[str, Any] | None = None, *, desk: Desk, record: Record | None, by: User) -> None:
        super().__init__(data, initial={"version": desk.row.version, "idempotency_key": uuid4()})
        self.desk, self.by = desk, by
        self.target: dict[str, Any] = {"run": desk.run, "question": desk.question}
        self.record = record
        self.prepare()

    def prepare(self) -> None:
        """Further fields and first values that depend on the question."""

    @property
    def slot(self) -> int:
        if self.record is None:
            raise OverrideError(NEEDS_RECORD)
        return self.record.selection.slot

    @property
    def path(self) -> ReasoningPath:
        if self.record is None:
            raise OverrideError(NEEDS_RECORD)
        return self.record.path

    @property
    def signature(self) -> str:
        """Of the values whose consequences are looked at, and the version of the question they are worked out for."""
        raw = {name: self.data.get(name, "") for name in self.fields_about} if self.is_bound else {}
        said = [self.kind, str(self["version"].value()), raw]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def fields_about(self) -> tuple[str, ...]:
        return self.about

    @property
    def previewable(self) -> bool:
        """Nothing that decides what follows is missing or wrong."""
        return not any(self.errors.get(name) for name in self.fields_about) if self.is_bound else not self.fields_about

    def preview(self) -> Consequences:
        """Raises OverrideError."""
        raise NotImplementedError

    def save(self) -> Saved[Any]:
        """Raises OverrideError, VersionConflict."""
        raise NotImplementedError

    @property
    def common(self) -> dict[str, Any]:
        """Keyword arguments that every service takes."""
        said = self.cleaned_data
        return {
            "reason": said["reason"],
            "by": self.by,
            "idempotency_key": said["idempotency_key"],
            "expected_version": said["version"],
        }


class TierForm(ChangeForm):
    kind, title, verb, about, with_record = "tier", "Set the tier yourself", "Set the tier", ("tier",), False
    lead = (
        "The tier then stands whatever the error count says, until someone gives it back. The labels stay as they are."
    )

    tier = forms.ChoiceField(required=False, choices=(), error_messages={"required": "Choose a tier."})

    def prepare(self) -> None:
        standing = RecordOverride.objects.filter(**self.target, kind=OverrideKind.TIER, current=True).exclude(tier="")
        self.standing = standing.select_related("by").first()
        choices = [(tier.value, tier.label) for tier in Tier if tier != self.desk.row.tier or not self.standing]
        if self.standing:
            choices.append(("follow", "Back to what the error count says"))
        field = self.fields["tier"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices
        field.required = True

    @property
    def tier_value(self) -> str:
        chosen = str(self.cleaned_data["tier"])
        return "" if chosen == "follow" else chosen

    def preview(self) -> Consequences:
        return overrides.preview_tier(**self.target, tier=self.tier_value)

    def save(self) -> Saved[Any]:
        return overrides.override_tier(**self.target, tier=self.tier_value, **self.common)


class ChoiceForm(ChangeForm):
    kind, title, verb, with_record = "choice", "Choose the paths yourself", "Keep these paths", False
    lead = "What you choose goes before the ranker’s order. Places you leave open go to the best of the others."

    def prepare(self) -> None:
        self.allowed = overrides.choosable(self.desk.run, self.desk.question)
        self.keep = policy_of(self.desk.run).keep
        now = {s.slot: s.source_id for s in self.desk.selections}
        choices = [("", "The ranker’s choice")] + [
            (str(pk), self.desk.views[pk].name) for pk in self.allowed if pk in self.desk.views
        ]
        for place in range(1, self.keep + 1):
            first = str(now.get(place) or "")
            self.fields[f"place_{place}"] = forms.ChoiceField(
                required=False, choices=choices, label=f"Place {place}", initial=first if first in dict(choices) else ""
            )

    @property
    def fields_about(self) -> tuple[str, ...]:
        return tuple(f"place_{n}" for n in range(1, self.keep + 1))

    @property
    def places(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields_about]

    @property
    def chosen(self) -> list[int]:
        return [int(value) for name in self.fields_about if (value := self.cleaned_data.get(name))]

    def preview(self) -> Consequences:
        return overrides.preview_choice(**self.target, paths=self.chosen)

    def save(self) -> Saved[Any]:
        return overrides.override_choice(**self.target, paths=self.chosen, **self.common)


class ResponseForm(ChangeForm):
    kind, title, verb, about = "response", "Write the response yourself", "Save my response", ("text",)
    lead = "Yours becomes the next revision; the one before stays readable. It must end with the key, or it would not leave."

    text = forms.CharField(
        max_length=overrides.MOST_CHARACTERS,
        strip=False,
        error_messages={"required": "Write the response: a few sentences that end with the answer."},
    )

    def prepare(self) -> None:
        if self.record and self.record.response:
            self.initial["text"] = self.record.response.text

    def preview(self) -> Consequences:
        return overrides.preview_response(run=self.desk.run, path=self.path, text=self.cleaned_data["text"])

    def save(self) -> Saved[Any]:
        return overrides.override_response(
            run=self.desk.run, path=self.path, text=self.cleaned_data["text"], **self.common
        )


class PathForm(ChangeForm):
    kind, title, verb, about = "path", "Rewrite the path yourself", "Save my path", ("text",)
    lead = (
        "Yours becomes the next revision; the one before stays readable. The judge reads it before it leaves, and its "
        "response is written anew."
    )

    text = forms.CharField(
        max_length=rewriting.MOST_CHARACTERS,
        strip=False,
        error_messages={"required": "Write the path: the reasoning that ends with the answer."},
    )

    def prepare(self) -> None:
        self.initial["text"] = self.path.text

    def preview(self) -> Consequences:
        return rewriting.preview_rewriting(run=self.desk.run, path=self.path, text=self.cleaned_data["text"])

    def save(self) -> Saved[Any]:
        return rewriting.override_path(run=self.desk.run, path=self.path, text=self.cleaned_data["text"], **self.common)


class ReturnForm(ChangeForm):
    kind, title, verb, about = "return", "Return this record", "Return it", ("again",)
    lead = "It does not leave before it is made again, and that waits until a curator confirms."

    again = forms.ChoiceField(
        choices=Again.choices, error_messages={"required": "Say which step should make it again."}
    )
    correctness = forms.BooleanField(required=False)
    coherence = forms.BooleanField(required=False)
    factuality = forms.BooleanField(required=False)

    @property
    def failing(self) -> list[forms.BoundField]:
        return [self[axis] for axis in AXES]

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if said.get("again") == Again.PATH and not any(said.get(axis) for axis in AXES):
            self.add_error("correctness", "An Error path fails at least one axis; say which one.")
        return said

    def preview(self) -> Consequences:
        return decisions.preview_return(**self.target, slot=self.slot, again=self.cleaned_data["again"], by=self.by)

    def save(self) -> Saved[Any]:
        said = self.cleaned_data
        axes: Mapping[str, bool] = {axis: not said[axis] for axis in AXES}
        return decisions.return_record(**self.target, slot=self.slot, again=said["again"], axes=axes, **self.common)


class ExcludeForm(ChangeForm):
    kind, title, verb = "exclude", "Exclude this record", "Exclude it"
    lead = "This path then leaves in no export of the run, until someone takes that back. The question’s other record stays."

    def preview(self) -> Consequences:
        return decisions.preview_exclusion(**self.target, slot=self.slot, excluded=True)

    def save(self) -> Saved[Any]:
        return decisions.exclude_record(**self.target, slot=self.slot, **self.common)


class WithdrawForm(ChangeForm):
    kind, title, verb = "withdraw", "Take the decision back", "Take it back"
    lead = "The record is as if nobody had decided; the decision stays in its history."

    def preview(self) -> Consequences:
        return decisions.preview_exclusion(**self.target, slot=self.slot, excluded=False)

    def save(self) -> Saved[Any]:
        return decisions.withdraw_decision(**self.target, slot=self.slot, **self.common)


FORMS: dict[str, type[ChangeForm]] = {
    form.kind: form for form in (TierForm, ChoiceForm, ResponseForm, PathForm, ReturnForm, ExcludeForm, WithdrawForm)
}
