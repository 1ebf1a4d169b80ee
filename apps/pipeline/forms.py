"""The form of a new run: published defaults, a configuration file for the rest, and what the run will take."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apps.pipeline.config import ConfigError, RunConfig, default_config, parse_config
from apps.pipeline.estimate import Estimate, estimate_run
from apps.pipeline.services import choose_questions, pick_questions
from apps.questions.models import Benchmark, Project, Split
from apps.reasoning.models import Run


class RunForm(forms.Form):
    """What most runs differ in. `toml` holds anything else of a configuration and wins over the fields."""

    name = forms.SlugField(max_length=100, help_text="Letters, digits and hyphens; it names the run for good.")
    start_from = forms.ModelChoiceField(
        Run.objects.none(),
        required=False,
        empty_label="The published set-up, simulated models",
        label="Configuration of",
    )
    paths_from = forms.ModelChoiceField(
        Run.objects.none(),
        required=False,
        empty_label="Generate them",
        label="Paths",
        help_text="Or judge another run’s.",
    )
    benchmarks = forms.ModelMultipleChoiceField(
        Benchmark.objects.none(), required=False, to_field_name="slug", widget=forms.CheckboxSelectMultiple
    )
    splits = forms.MultipleChoiceField(choices=Split.choices, required=False, widget=forms.CheckboxSelectMultiple)
    limit = forms.IntegerField(
        min_value=1, required=False, label="At most", help_text="Empty: every question that fits."
    )
    sample = forms.IntegerField(
        min_value=1, required=False, label="Drawn at random", help_text="So many of them, by the seed. Empty: all."
    )
    duplicates = forms.BooleanField(required=False, label="All members of a duplicate group")
    flagged = forms.BooleanField(required=False, label="Questions that an import flag keeps out")
    allow_held_out = forms.BooleanField(required=False, label="Held-out questions; exports will say so")
    easy = forms.IntegerField(min_value=0, initial=4, label="Easy up to")
    medium = forms.IntegerField(min_value=0, initial=7, label="Medium up to")
    label_policy = forms.ChoiceField(
        choices=[("single", "One reviewer decides"), ("two", "Two reviewers must agree")], label="People’s verdicts"
    )
    unjudged_policy = forms.ChoiceField(
        choices=[
            ("wait", "The question waits"),
            ("count_as_error", "Count as Error"),
            ("exclude", "Exclude the question"),
        ],
        label="A path no judge could judge",
    )
    seed = forms.IntegerField(min_value=0, initial=20260101)
    hard = forms.DecimalField(
        min_value=0,
        max_digits=14,
        decimal_places=4,
        required=False,
        label="Stop at",
        help_text="The run is paused before it costs more. Empty: as its configuration says.",
    )
    soft = forms.DecimalField(
        min_value=0, max_digits=14, decimal_places=4, required=False, label="Warn at", help_text="Below the other."
    )
    currency = forms.RegexField(
        r"^[A-Z]{3}$",
        required=False,
        label="Currency",
        help_text="Of the prices: USD unless the configuration says another.",
        error_messages={"invalid": "Three capital letters, such as USD or EUR."},
    )
    toml = forms.CharField(required=False, widget=forms.Textarea, label="Configuration as TOML", max_length=100_000)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        runs = Run.objects.filter(project=project).order_by("-pk")
        for name in ("start_from", "paths_from"):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)
            field.queryset = runs
        benchmarks = self.fields["benchmarks"]
        assert isinstance(benchmarks, forms.ModelMultipleChoiceField)
        benchmarks.queryset = Benchmark.objects.order_by("name")
        self.project = project
        self.config: RunConfig | None = None

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if Run.objects.filter(project=self.project, name=name).exists():
            raise ValidationError("A run of this project already has this name.")
        return name

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.config = parse_config(merged_config(said))
            except ConfigError as error:
                for line in str(error).splitlines():
                    self.add_error(field_of(line), line)
        return said


def merged_config(said: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen base, the fields over it, the TOML over both. Raises ConfigError."""
    base = dict(said["start_from"].config) if said.get("start_from") else default_config()
    base["cutoffs"] = {"easy": said["easy"], "medium": said["medium"]}
    base["questions"] = {
        "benchmarks": [b.slug for b in said["benchmarks"]],
        "splits": list(said["splits"]),
        "limit": said["limit"],
        "sample": said["sample"],
        "duplicates": said["duplicates"],
        "flagged": said["flagged"],
    }
    base |= {name: said[name] for name in ("seed", "label_policy", "unjudged_policy")}
    budget = {name: str(said[name]) for name in ("hard", "soft") if said[name] is not None}
    base["budget"] = base.get("budget", {}) | budget
    if said["currency"]:
        base["currency"] = said["currency"]
    for frozen in ("prompts", "imported"):
        base.pop(frozen, None)
    if paths_from := said.get("paths_from"):
        base["generators"] = paths_from.config["generators"]
        named = {e["name"] for e in base["endpoints"]}
        base["endpoints"] = [*base["endpoints"], *(e for e in paths_from.config["endpoints"] if e["name"] not in named)]
    try:
        return base | tomllib.loads(said["toml"])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"toml: {error}") from error


def field_of(line: str) -> str | None:
    """The form's field that a line of a ConfigError speaks of; None for the form as a whole."""
    named = {"cutoffs": "easy", "questions.limit": "limit", "seed:": "seed", "budget": "hard", "toml:": "toml"}
    return next((field for words, field in named.items() if words in line), None)


def estimate_for(config: RunConfig, project: Project, said: Mapping[str, Any]) -> Estimate:
    """For the questions that are there now."""
    paths_from: Run | None = said["paths_from"]
    chosen = choose_questions(
        project=project, config=config, paths_from=paths_from, allow_held_out=said["allow_held_out"]
    )
    picked = pick_questions(chosen, config)
    return estimate_run(project=project, config=config, picked=picked, paths_from=paths_from)
