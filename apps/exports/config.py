"""What an export is asked to hold: checked when it is ordered, frozen in `Snapshot.config`, and told in its manifest.

The defaults take every record that the run lets out, and warn of what the quality gates find. Whatever is chosen here
can only leave more out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from apps.exports.errors import ExportRefusedError
from apps.exports.forms.names import FormName
from apps.exports.gates.texts import GATES, Gate, Switch

Labels = Literal["clinician_first", "judge", "clinician"]
Duplicates = Literal["in", "out"]
Sources = Literal["allowed", "open", "held_out"]
TierName = Literal["easy", "medium", "difficult"]
Policy = Literal["keep", "warn", "exclude"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,49}$")]

TIER_NAMES: tuple[TierName, ...] = get_args(TierName)
LABEL_WORDS: dict[Labels, str] = {
    "clinician_first": "A clinician’s where there is one, else the judge’s",
    "judge": "The judge’s alone",
    "clinician": "A clinician’s alone",
}
DUPLICATE_WORDS: dict[Duplicates, str] = {"in": "As in the run", "out": "One question of each group"}
POLICY_WORDS: dict[Policy, str] = {"keep": "Keep, do not look", "warn": "Warn", "exclude": "Leave out"}
SOURCE_WORDS: dict[Sources, str] = {
    "allowed": "All that the run lets out",
    "open": "Open ones only",
    "held_out": "Held-out ones only",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contamination(_Frozen):
    """What happens to questions that also stand in an evaluation set (`policy`), and to those that nearly say what an earlier
    one of the export says (`within`), from this similarity on. Both "keep": nothing is compared."""

    policy: Policy = "keep"
    within: Policy = "keep"
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class ExportConfig(_Frozen):
    labels: Labels = "clinician_first"
    duplicates: Duplicates = "in"
    sources: Sources = "allowed"
    benchmarks: tuple[Name, ...] = ()  # slugs; none named: all
    tiers: tuple[TierName, ...] = ()  # none named: all
    contamination: Contamination = Contamination()
    gates: dict[Gate, Switch] = {}  # quality gates that do not warn, as those that are not named do
    forms: tuple[FormName, ...] = ()  # further files beside the sets
    system_prompt: Annotated[str, Field(max_length=4000)] = ""  # of the form `messages`: its first turn; empty: none

    @field_validator("benchmarks", "forms")
    @classmethod
    def _in_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Sorted and each once, so that the same choices are the same configuration."""
        return tuple(sorted(set(names)))

    @field_validator("gates")
    @classmethod
    def _gates_in_order(cls, gates: dict[Gate, Switch]) -> dict[Gate, Switch]:
        return {gate: gates[gate] for gate in GATES if gates.get(gate, "warn") != "warn"}

    @field_validator("tiers")
    @classmethod
    def _tiers_in_order(cls, names: tuple[TierName, ...]) -> tuple[TierName, ...]:
        return tuple(tier for tier in TIER_NAMES if tier in names)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


DEFAULT = ExportConfig()


def read_config(stored: Mapping[str, Any]) -> ExportConfig:
    """From `Snapshot.config` or a request. Raises ExportRefusedError, naming each field that will not do."""
    try:
        return ExportConfig.model_validate(dict(stored))
    except ValidationError as error:
        told = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ExportRefusedError(f"The choices will not do: {'; '.join(told)}.") from error
