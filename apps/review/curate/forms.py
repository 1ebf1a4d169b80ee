"""The form of a new queue: a sampling plan, and who works in it how."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import QueryDict

from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR
from apps.questions.models import Benchmark, Project
from apps.reasoning.models import Label, Run, Tier
from apps.review.curate.plan_words import KINDS, TRAITS
from apps.review.models import ReviewQueue
from apps.review.queues.build import Gold, settled_gold
from apps.review.queues.measured import kept_measure
from apps.review.queues.plans import PlanError, SamplingPlan, mix, parse_plan

MOST = 20_000  # paths that the page draws; larger queues are made by the command, which may take its time
MOST_QUESTIONS = 2_000  # with all their paths
RUNS_TO_CHOOSE = 200
PROBABILITY = ("random", "stratified")
FILTERS = ("benchmarks", "tiers", "generators", "labels")
ROLES = ((CLINICIAN, "Every clinician"), (ADJUDICATOR, "Every adjudicator"), (CURATOR, "Every curator"), ("", "Only the people named below"))  # fmt: skip
INITIAL: dict[str, Any] = {
    "kind": "random", "size": 100, "seed": 20260101, "allocation": "equal", "sensitivity": 0.9, "specificity": 0.95,
    "gold_percent": 0, "overlap": 1, "view": "blind", "effect": "counts", "role": CLINICIAN,
}  # fmt: skip


class Many(forms.MultipleChoiceField):
    widget = forms.CheckboxSelectMultiple

    def __init__(self, label: str, choices: Any = ()) -> None:
        super().__init__(required=False, label=label, choices=choices)


class QueueForm(forms.Form):
    """What does not belong to the chosen kind is ignored, so that nothing hidden speaks. `plan` once it is valid."""

    run = forms.ModelChoiceField(
        Run.objects.none(),
        to_field_name="name",
        label="Run",
        empty_label="Choose a run",
        error_messages={"required": "Choose a run.", "invalid_choice": "Choose one of the runs listed."},
    )
    name = forms.CharField(
        max_length=100, label="Name", help_text="Reviewers see it.",
        error_messages={"required": "Give the queue a name."},
    )  # fmt: skip
    kind = forms.ChoiceField(choices=[(k, w) for k, (w, _) in KINDS.items()], widget=forms.RadioSelect, label="Plan")
    size = forms.IntegerField(
        min_value=1, max_value=MOST, error_messages={"max_value": "At most %(limit_value)s paths here; manage.py make_queue makes larger queues."}, label="Size", help_text="Paths; questions where whole ones are drawn.")  # fmt: skip
    seed = forms.IntegerField(min_value=0, max_value=2**63 - 1, label="Seed", help_text="The same again draws the same.")  # fmt: skip
    by = Many("Strata", list(TRAITS.items()))
    allocation = forms.ChoiceField(
        choices=[("equal", "Equally many from each"), ("proportional", "In proportion")], widget=forms.RadioSelect,
        label="Shared out",
    )  # fmt: skip
    whole_questions = forms.BooleanField(required=False, label="Whole questions, each with all its paths")
    sensitivity = forms.FloatField(min_value=0.01, max_value=1, label="Judge’s sensitivity")
    specificity = forms.FloatField(min_value=0.01, max_value=1, label="Judge’s specificity")
    paths = forms.CharField(required=False, max_length=200_000, widget=forms.Textarea(attrs={"rows": 3}), label="Path ids")  # fmt: skip
    benchmarks = Many("Benchmark")
    tiers = Many("Tier", Tier.choices)
    generators = Many("Model")
    labels = Many("Judge’s label", [(Label.CORRECT, "Correct"), (Label.ERROR, "Error"), (Label.UNJUDGED, "Unjudged")])
    errors_among = forms.CharField(required=False, max_length=60, label="Errors among the paths", help_text="Such as 4, 5, 7, 8.")  # fmt: skip
    gold_percent = forms.IntegerField(min_value=0, max_value=90, label="Gold, per cent of the queue", help_text="Paths people settled, hidden among the others.")  # fmt: skip
    feedback = forms.BooleanField(required=False, label="Tell the reviewer what was right, after judging")
    overlap = forms.IntegerField(min_value=1, max_value=50, label="People for each item", help_text="Two or more, to measure their agreement.")  # fmt: skip
    view = forms.ChoiceField(
        choices=[("blind", "Blind: the judge’s verdict is shown after committing"), ("open", "Open: it is shown from the start")],
        widget=forms.RadioSelect, label="What reviewers see",
    )  # fmt: skip
    effect = forms.ChoiceField(
        choices=[("counts", "Count for labels and tiers"), ("measures", "Only measure the judge and the people"), ("practice", "Practice: settled paths for everyone, with the answer after each")],
        widget=forms.RadioSelect, label="Its verdicts",
    )  # fmt: skip
    role = forms.ChoiceField(choices=ROLES, required=False, label="Who may work in it")
    reviewers = forms.ModelMultipleChoiceField(
        User.objects.none(), required=False, to_field_name="username", widget=forms.CheckboxSelectMultiple,
        label="And these people",
    )  # fmt: skip

    def __init__(self, data: QueryDict | None, *, project: Project, making: bool, run: Run | None = None) -> None:
        """`making`: not a preview alone, so a name is needed. `run`: the one chosen before anything was sent."""
        self.measured = kept_measure(run) if run else None
        known = (
            {"sensitivity": self.measured.sensitivity, "specificity": self.measured.specificity}
            if self.measured
            else {}
        )
        super().__init__(data, initial=INITIAL | known | {"run": run.name if run else None})
        self.project = project
        self.plan: SamplingPlan | None = None
        self.fields["name"].required = making
        self._choices(project)

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name and ReviewQueue.objects.filter(project=self.project, name=name).exists():
            raise ValidationError(
                "There is a queue of this name. If you pressed the button twice, it is made: look under all queues. "
                "Otherwise choose another name."
            )
        return name

    def clean_paths(self) -> list[int]:
        return _numbers(str(self.cleaned_data["paths"]), "Give the ids of paths, such as 1204, 1311.")

    def clean_errors_among(self) -> list[int]:
        return _numbers(str(self.cleaned_data["errors_among"]), "Give numbers, such as 4, 5.")

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        if not said.get("role") and "role" not in self.errors and not said.get("reviewers"):
            self.add_error("role", "Say who may work in it: a role, or people by name.")
        if not set(self.errors) - {"name", "role", "reviewers"}:
            try:
                self.plan = parse_plan(plan_of(said))
                if takes_questions(self.plan) and self.plan.size > MOST_QUESTIONS:
                    self.plan = None
                    self.add_error(
                        "size",
                        f"At most {MOST_QUESTIONS:,} whole questions here; manage.py make_queue makes larger queues.",
                    )
            except PlanError as error:
                for line in str(error).splitlines():
                    self.add_error(field_of(line), reader_words(line))
        return said

    @property
    def practice(self) -> bool:
        return bool(self.cleaned_data.get("effect") == "practice")

    @property
    def kinds(self) -> list[tuple[str, str, str, bool]]:
        """(value, word, hint, chosen)"""
        chosen = self["kind"].value()
        return [(kind, word, hint, kind == chosen) for kind, (word, hint) in KINDS.items()]

    @property
    def narrowed(self) -> bool:
        """Whether a filter was said, or is wrong: it is shown unfolded then."""
        return any(self[name].value() or name in self.errors for name in (*FILTERS, "errors_among"))

    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `build_queue` beside run, plan and author. Raises PlanError for practice without gold."""
        said = self.cleaned_data
        return {
            "name": said["name"],
            "overlap": said["overlap"],
            "blind": said["view"] == "blind",
            "counts": said["effect"] == "counts",
            "feedback": said["feedback"],
            "practice": self.practice,
            "role": said["role"],
            "reviewers": list(said["reviewers"]),
            "gold": practice_gold(said["run"], size=said["size"], seed=said["seed"]) if self.practice else (),
        }

    def _choices(self, project: Project) -> None:
        runs = Run.objects.filter(project=project).order_by("-pk")
        self._field("run").queryset = runs
        self._field("reviewers").queryset = User.objects.filter(is_active=True, projects=project).order_by("username")
        self._field("benchmarks").choices = list(Benchmark.objects.order_by("name").values_list("slug", "name"))
        chosen = runs.filter(name=str(self["run"].value() or "")).first()
        generators = [g["name"] for g in chosen.config.get("generators", ())] if chosen else []
        self._field("generators").choices = [(name, name) for name in generators]

    def _field(self, name: str) -> Any:
        return self.fields[name]


def practice_gold(run: Run, *, size: int, seed: int) -> list[Gold]:
    """Settled paths that come with a reason, since practice explains; drawn by the seed. Raises PlanError."""
    found = [gold for gold in settled_gold(run) if gold.reason.strip()]
    if not found:
        raise PlanError("practice: nothing is settled with a reason yet; adjudicate some paths of this run first")
    return sorted(found, key=lambda gold: mix(seed, "practice", gold.path))[:size]


def plan_of(said: dict[str, Any]) -> dict[str, Any]:
    """The plan as JSON, from what was said for its kind."""
    kind = said["kind"]
    plan: dict[str, Any] = {"kind": kind, "size": said["size"], "seed": said["seed"]}
    plan |= {"sensitivity": said["sensitivity"], "specificity": said["specificity"]}
    if kind == "stratified":
        plan |= {"by": said["by"], "allocation": said["allocation"]}
    if kind in PROBABILITY:
        plan["whole_questions"] = said["whole_questions"]
    if kind == "paths":
        return plan | {"paths": said["paths"], "gold_share": said["gold_percent"] / 100}
    kept = {name: said[name] for name in FILTERS} | {"error_counts": said["errors_among"]}
    return plan | {"filter": kept, "gold_share": said["gold_percent"] / 100}


FIELDS = {"gold_share": "gold_percent", "gold": "gold_percent", "filter": "labels", "practice": "effect", "sensitivity and specificity": "specificity"}  # fmt: skip


def field_of(line: str) -> str | None:
    """The form's field that a problem "by: …" or "filter.labels.0: …" speaks of."""
    place = line.partition(":")[0]
    parts = place.split(".")
    name = parts[1] if parts[0] == "filter" and len(parts) > 1 else parts[0]
    name = FIELDS.get(name, "errors_among" if name == "error_counts" else name)
    return name if name in QueueForm.base_fields else _named_in(line)


def reader_words(line: str) -> str:
    """The problem without the plan's own names."""
    words = re.sub(r"^(plan: )?(Value error, )?", "", line)
    words = re.sub(r"^[\w. ]+: (?=\S)", "", words)
    return words[:1].upper() + words[1:]


def takes_questions(plan: SamplingPlan) -> bool:
    """Whether its size counts questions, each with all its paths."""
    return plan.whole_questions or plan.kind == "tier_flip"


def _named_in(line: str) -> str | None:
    found = re.match(r"plan: Value error, ([\w ]+):", line)
    name = found[1] if found else ""
    name = FIELDS.get(name, name)
    return name if name in QueueForm.base_fields else None


def _numbers(text: str, problem: str) -> list[int]:
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    if any(not re.fullmatch(r"\d{1,18}", part) for part in parts):
        raise ValidationError(problem)
    return [int(part) for part in dict.fromkeys(parts)]
