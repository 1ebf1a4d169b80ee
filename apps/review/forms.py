"""The form of an override: verdict, axes, reason, and the sentences it points to."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from django import forms

from apps.reasoning.models import Label
from apps.reasoning.sentences import SPLITTER_VERSION

PASS_FAIL = (("pass", "Pass"), ("fail", "Fail"))
AXES = ("correctness", "coherence", "factuality")


class OverrideForm(forms.Form):
    """Whether label and axes agree is checked by `check_judgment`, which speaks for every way of judging."""

    label = forms.ChoiceField(
        choices=((Label.CORRECT, "Correct"), (Label.ERROR, "Error")),
        error_messages={"required": "Choose Correct or Error."},
    )
    correctness = forms.ChoiceField(choices=PASS_FAIL, error_messages={"required": "Say pass or fail for correctness."})
    coherence = forms.ChoiceField(choices=PASS_FAIL, error_messages={"required": "Say pass or fail for coherence."})
    factuality = forms.ChoiceField(choices=PASS_FAIL, error_messages={"required": "Say pass or fail for factuality."})
    reason = forms.CharField(
        max_length=4000,
        error_messages={"required": "Give the reason, one sentence is enough: it is kept with the verdict."},
    )
    sentences = forms.CharField(required=False, max_length=200)
    version = forms.IntegerField(min_value=0)
    idempotency_key = forms.UUIDField(initial=uuid4)

    def __init__(self, *args: Any, sentence_count: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sentence_count = sentence_count

    def clean_sentences(self) -> list[int]:
        """Numbers separated by anything; each must be a sentence of the path."""
        raw = str(self.cleaned_data["sentences"])
        numbers = sorted({int(n) for n in re.findall(r"\d{1,6}", raw)})
        if raw.strip() and not numbers:
            raise forms.ValidationError("Give sentence numbers, such as 25, 81.")
        if outside := [n for n in numbers if not 1 <= n <= self.sentence_count]:
            raise forms.ValidationError(f"This path has {self.sentence_count} sentences; there is no {outside[0]}.")
        return numbers

    @property
    def judgment(self) -> dict[str, Any]:
        """The keyword arguments of `override_verdict` that come from the form."""
        said = self.cleaned_data
        return {
            "label": said["label"],
            **{axis: said[axis] == "pass" for axis in AXES},
            "reason": said["reason"],
            "details": {"sentences": said["sentences"], "splitter": SPLITTER_VERSION} if said["sentences"] else {},
            "idempotency_key": said["idempotency_key"],
            "expected_version": said["version"],
        }
