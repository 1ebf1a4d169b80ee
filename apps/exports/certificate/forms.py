"""The form of a certification: what is to be shown, and who judges. Shares are asked for in per cent."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict

from apps.exports.certificate.plan import CertificatePlan, CertificatePlanError, parse_certificate_plan
from apps.exports.certificate.words import KINDS
from apps.questions.access import ADJUDICATOR, CLINICIAN
from apps.questions.models import Project

ROLES = ((CLINICIAN, "Every clinician"), (ADJUDICATOR, "Every adjudicator"), ("", "Only the people named below"))
BY = (("tier", "Tier"), ("benchmark", "Benchmark"))
RULES = (("any", "if any of them says so"), ("majority", "if at least half of them say so"))
MISSES = (
    ("none", "Leave them out; the certificate says so"),
    ("mixed", "Measure them here: known faults are mixed among the records, and nobody is told which"),
    ("gold", "As measured with gold items of the review queues"),
    ("entered", "As measured elsewhere"),
)
NEEDED = {"kind", "rate", "confidence", "overlap"}  # what else is left empty is as it was proposed
INITIAL: dict[str, Any] = {
    "kind": "acceptance", "rate": 1, "accept": 0, "confidence": 95, "good": 0.25, "alpha": 5, "by": "tier", "overlap": 1,
    "rule": "any", "misses": "none", "missed": 0, "known": 0, "role": CLINICIAN,
}  # fmt: skip


def _percent(label: str, low: float, high: float, **more: Any) -> forms.FloatField:
    return forms.FloatField(min_value=low, max_value=high, step_size=None, label=label, **more)


class CertificateForm(forms.Form):
    """What does not belong to the chosen kind is ignored, so that nothing hidden speaks. `plan` once it is valid."""

    kind = forms.ChoiceField(choices=[(k, w) for k, (w, _) in KINDS.items()], widget=forms.RadioSelect, label="Plan")
    rate = _percent("At most wrong, %", 0.1, 20, help_text="0.5 to 5 as a rule; p1 of the test.")
    confidence = _percent("Confidence, %", 50, 99.9)
    accept = forms.IntegerField(
        min_value=0, max_value=100, label="Faults accepted", help_text="More need a larger sample."
    )
    good = _percent("Good, %", 0.01, 19, help_text="p0: accepted if so few are wrong, but for α.")
    alpha = _percent("α, %", 0.1, 49, help_text="Good records rejected, at most.")
    by = forms.ChoiceField(choices=BY, label="Strata")
    overlap = forms.IntegerField(min_value=1, max_value=9, label="People for each record")
    rule = forms.ChoiceField(choices=RULES, label="A record counts as wrong")
    misses = forms.ChoiceField(choices=MISSES, widget=forms.RadioSelect, label="Faults that reviewers overlook")
    missed = forms.IntegerField(
        min_value=0, max_value=1_000_000, label="Known faults missed", help_text="Mixed in: at most so many."
    )
    known = forms.IntegerField(min_value=0, max_value=1_000_000, label="Known faults shown")
    source = forms.CharField(required=False, max_length=500, label="Source", help_text="The certificate names it.")
    role = forms.ChoiceField(choices=ROLES, required=False, label="Who judges")
    reviewers = forms.ModelMultipleChoiceField(
        User.objects.none(), required=False, to_field_name="username", widget=forms.CheckboxSelectMultiple,
        label="And these people",
    )  # fmt: skip

    def __init__(self, data: QueryDict | None, *, project: Project) -> None:
        super().__init__(data, initial=INITIAL)
        self.plan: CertificatePlan | None = None
        for name, field in self.fields.items():
            field.required = name in NEEDED
        people: Any = self.fields["reviewers"]
        people.queryset = User.objects.filter(is_active=True, projects=project).order_by("username")

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        said |= {name: value for name, value in INITIAL.items() if said.get(name) is None and name != "role"}
        if not said.get("role") and not said.get("reviewers") and "role" not in self.errors:
            self.add_error("role", "Say who judges: a role, or people by name.")
        if not set(self.errors) - {"role", "reviewers"}:
            try:
                self.plan = parse_certificate_plan(plan_of(said))
            except CertificatePlanError as error:
                self.refuse(str(error), error.field)
        return said

    def refuse(self, problem: str, field: str) -> None:
        """Puts the problem beside its field, where the form has it."""
        self.add_error(field if field in self.fields else None, problem)

    @property
    def kinds(self) -> list[tuple[str, str, str, bool]]:
        """(value, word, hint, chosen)"""
        chosen = self["kind"].value()
        return [(kind, word, hint, kind == chosen) for kind, (word, hint) in KINDS.items()]


def plan_of(said: dict[str, Any]) -> dict[str, Any]:
    """The plan as JSON, from what was said for its kind."""
    plan = {name: said[name] for name in ("kind", "overlap", "rule", "misses")}
    plan |= {name: said[name] / 100 for name in ("rate", "confidence")}
    if said["kind"] == "sequential":
        plan |= {"good": said["good"] / 100, "alpha": said["alpha"] / 100}
    else:
        plan["accept"] = said["accept"]
    if said["kind"] == "stratified":
        plan["by"] = said["by"]
    if said["misses"] == "mixed":
        plan |= {name: said[name] for name in ("missed", "known")}
    if said["misses"] == "entered":
        plan |= {name: said[name] for name in ("missed", "known", "source")}
    return plan
