"""Forms about flags; what is said of a path is read by `screen.forms.read_said`."""

from __future__ import annotations

from uuid import uuid4

from django import forms

from apps.review.models import FlagKind
from apps.review.queues.said import LONGEST_COMMENT

TOO_LONG = {"max_length": f"At most {LONGEST_COMMENT:,} characters, please."}


class ResolveForm(forms.Form):
    decision = forms.ChoiceField(
        choices=(("uphold", "Uphold: it stays out"), ("revoke", "Revoke: the question is sound")),
        error_messages={"required": "Choose: uphold the flag or revoke it."},
    )
    why = forms.CharField(required=False, max_length=LONGEST_COMMENT, error_messages=TOO_LONG)


class QuestionFlagForm(forms.Form):
    kind = forms.ChoiceField(choices=FlagKind.choices, error_messages={"required": "Say what is not sound."})
    note = forms.CharField(required=False, max_length=LONGEST_COMMENT, error_messages=TOO_LONG)
    idempotency_key = forms.UUIDField(initial=uuid4)
