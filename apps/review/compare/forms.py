"""The form that gives one verdict to every path with the same wrong claim."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from django import forms

from apps.review.compare.selectors import Elsewhere
from apps.review.services import AXES


def read_numbers(raw: Sequence[str]) -> list[int]:
    """Sentence numbers from an address or a field: "3", "3, 7", several times."""
    return sorted({int(n) for text in raw[:50] for n in re.findall(r"\d{1,6}", text)})[:50]


class AlikeForm(forms.Form):
    """`shown` names the paths whose joint consequences the person saw."""

    paths = forms.TypedMultipleChoiceField(
        coerce=int, choices=(), error_messages={"required": "Choose at least one path."}
    )
    correctness = forms.BooleanField(required=False)
    coherence = forms.BooleanField(required=False)
    factuality = forms.BooleanField(required=False)
    reason = forms.CharField(max_length=4000, error_messages={"required": "Give the reason, one sentence is enough."})
    version = forms.IntegerField(min_value=0)
    idempotency_key = forms.UUIDField(initial=uuid4)
    shown = forms.CharField(required=False, max_length=64)

    def __init__(
        self, data: Any = None, *, found: Sequence[Elsewhere], version: int, reason: str = "", axes: Mapping[str, bool]
    ) -> None:
        first = {"version": version, "idempotency_key": uuid4(), "reason": reason} | {
            a: not ok for a, ok in axes.items()
        }
        super().__init__(data, initial=first)
        self.found = found
        field = self.fields["paths"]
        assert isinstance(field, forms.TypedMultipleChoiceField)
        field.choices = [(f.view.path.pk, f.view.name) for f in found]

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if not any(said.get(axis) for axis in AXES):
            self.add_error("correctness", "An Error path fails at least one axis; say which one.")
        return said

    @property
    def failing(self) -> list[forms.BoundField]:
        return [self[axis] for axis in AXES]

    @property
    def chosen(self) -> list[Elsewhere]:
        wanted = set(self.cleaned_data.get("paths") or ()) if self.is_bound else set()
        return [f for f in self.found if f.view.path.pk in wanted]

    @property
    def chosen_ids(self) -> set[int]:
        return {f.view.path.pk for f in self.chosen} if self.is_bound and hasattr(self, "cleaned_data") else set()

    @property
    def signature(self) -> str:
        said = [sorted(self.chosen_ids), [f.numbers for f in self.found], str(self["version"].value())]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()
