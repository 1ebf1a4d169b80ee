"""The gates in an export: what each found, and the records that its switch keeps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.exports.gates.keeper import Gatekeeper
from apps.exports.gates.texts import GATE_WORDS, GATES, Gate, Switch
from apps.exports.making.parts import Open

WHOLE = 0
REASON = "gate_"  # before the gate's name: why a record stays behind


class GateSieve:
    """Counts only records that nothing but a gate keeps out: what is not left out is what leaves."""

    def __init__(self, switches: Mapping[Gate, Switch]) -> None:
        self._keeper = Gatekeeper(switches)
        self._page: list[
            tuple[int, int, frozenset[Gate], Gate | None]
        ] = []  # (question id, slot, …) of the page at hand

    def sift(self, page: Sequence[Open], out: Mapping[tuple[int, int], str]) -> dict[tuple[int, int], str]:
        found: dict[tuple[int, int], str] = {}
        for question in page:
            pk = question.pk
            for slot, looked in zip(question.slots, question.looked, strict=True):
                gates, gate = self._keeper.decide(looked, (pk, slot))
                self._page.append((pk, slot, gates, gate))
                if gate:
                    found[pk, slot] = REASON + gate
        return found

    def settle(self, out: Mapping[tuple[int, int], str]) -> None:
        for pk, slot, gates, gate in self._page:
            if (pk, WHOLE) not in out and (gate or (pk, slot) not in out):
                self._keeper.count(gates, gate)
        self._page = []

    def told(self) -> dict[str, Any]:
        """For the manifest. Every gate with its switch; `records` were found, `left_out` of them by this gate."""
        keeper = self._keeper
        return {
            "gates": {
                "records": keeper.records,
                "flagged": keeper.flagged,
                "left_out": keeper.excluded,
                "by_gate": {
                    gate: {
                        "switch": keeper.switches.get(gate, "warn"),
                        "records": keeper.found[gate],
                        "left_out": keeper.left_out[gate],
                    }
                    for gate in GATES
                },
            }
        }

    @property
    def warnings(self) -> list[str]:
        """What leaves although a gate that warns found something."""
        keeper = self._keeper
        return [
            f"quality gate {gate}: {n:,} records ({GATE_WORDS[gate]})"
            for gate in GATES
            if keeper.switches.get(gate, "warn") == "warn" and (n := keeper.found[gate])
        ]
