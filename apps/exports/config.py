"""What an export is asked to hold: checked when it is ordered, frozen in `Snapshot.config`, and told in its manifest.

The defaults take every record that the run lets out. Whatever is chosen here can only leave more out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from apps.exports.errors import ExportRefusedError
from apps.exports.forms.names import FormName

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
SOURCE_WORDS: dict[Sources, str] = {
    "allowed": "All that the run lets out",
    "open": "Open ones only",
    "held_out": "Held-out ones only",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contamination(_Frozen):
    """What happens to questions that also stand in an evaluation set, from this similarity on."""

    policy: Policy = "keep"
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8


class ExportConfig(_Frozen):
    labels: Labels = "clinician_first"
    duplicates: Duplicates = "in"
    sources: Sources = "allowed"
    benchmarks: tuple[Name, ...] = ()  # slugs; none named: all
    tiers: tuple[TierName, ...] = ()  # none named: all
    contamination: Contamination = Contamination()
    gates: tuple[Name, ...] = ()  # quality gates whose findings keep a record out
    forms: tuple[FormName, ...] = ()  # further files beside the sets
    system_prompt: Annotated[str, Field(max_length=4000)] = ""  # of the form `messages`: its first turn; empty: none

    @field_validator("benchmarks", "gates", "forms")
    @classmethod
    def _in_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Sorted and each once, so that the same choices are the same configuration."""
        return tuple(sorted(set(names)))

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
