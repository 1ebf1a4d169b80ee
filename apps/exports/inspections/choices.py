"""The choices of an export that concern quality and contamination, as the new-export page shows and sends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from apps.exports.config import POLICY_WORDS, ExportConfig, Policy
from apps.exports.gates.texts import GATE_HINTS, GATES, SWITCH_WORDS, Gate, Switch
from apps.exports.inspections.selectors import Latest, latest_inspection
from apps.exports.models_checks import InspectionKind
from apps.reasoning.models import Run


def read_choices(data: QueryDict) -> dict[str, Any]:
    """Parts of a configuration; `config.read_config` says what will not do. What was not sent keeps its default."""
    found: dict[str, Any] = {}
    if gates := {gate: data[f"gate-{gate}"] for gate in GATES if data.get(f"gate-{gate}")}:
        found["gates"] = gates
    names = {"policy": "contamination", "within": "within", "threshold": "similarity"}
    if contamination := {name: data[sent] for name, sent in names.items() if data.get(sent)}:
        found["contamination"] = contamination
    return found


@dataclass(frozen=True, slots=True)
class GateChoice:
    gate: Gate
    words: str
    found: int | None  # records, by the latest look at the run; None where nobody looked
    switches: list[tuple[Switch, str, bool]]


@dataclass(frozen=True, slots=True)
class QualityChoices:
    """What the page shows for a run; `policies` and `withins` are (value, words, whether chosen)."""

    gates: list[GateChoice]
    seen: Latest | None
    policies: Sequence[tuple[Policy, str, bool]]
    withins: Sequence[tuple[Policy, str, bool]]
    threshold: float
    compared: Latest | None

    @property
    def changed(self) -> bool:
        """Something differs from the defaults, so the page shows it open."""
        gates = any(chosen and switch != "warn" for gate in self.gates for switch, _, chosen in gate.switches)
        return gates or not all(
            chosen for choices in (self.policies, self.withins) for v, _, chosen in choices if v == "keep"
        )


def choices_of(run: Run | None, config: ExportConfig) -> QualityChoices:
    """Four reads at most."""
    seen = latest_inspection(run.project, InspectionKind.GATES, run) if run else None
    compared = latest_inspection(run.project, InspectionKind.CONTAMINATION, run) if run else None
    found = seen.done.result["gates"] if seen and seen.done else None
    gates = [
        GateChoice(
            gate,
            GATE_HINTS[gate],
            found[gate]["records"] if found else None,
            [(switch, words, switch == config.gates.get(gate, "warn")) for switch, words in SWITCH_WORDS.items()],
        )
        for gate in GATES
    ]
    chosen = config.contamination
    return QualityChoices(
        gates,
        seen,
        [(policy, words, policy == chosen.policy) for policy, words in POLICY_WORDS.items()],
        [(policy, words, policy == chosen.within) for policy, words in POLICY_WORDS.items()],
        chosen.threshold,
        compared,
    )
