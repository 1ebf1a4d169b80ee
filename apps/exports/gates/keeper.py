"""The gates over records one after the other, as an export and a report meet them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apps.exports.gates.checks import find_hits
from apps.exports.gates.texts import GATES, Gate, Hit, Switch, Texts
from apps.exports.gates.twins import Place, Twins, digest_of
from apps.exports.lineage import Asked, Kept


@dataclass(slots=True)
class Gatekeeper:
    """`found` and `left_out` count records by gate; one with findings in CoT and response counts once a gate."""

    switches: Mapping[Gate, Switch]
    records: int = 0
    flagged: int = 0  # records with any finding
    excluded: int = 0  # records that a gate keeps out
    found: Counter[Gate] = field(default_factory=Counter)
    left_out: Counter[Gate] = field(default_factory=Counter)  # by the first gate, in the order of GATES
    twins: Twins = field(default_factory=Twins)

    def look(self, asked: Asked, kept: Kept) -> tuple[list[Hit], Gate | None]:
        """What is found in the record, and the gate that keeps it out. Only what stays can have a twin later."""
        on = frozenset(gate for gate in GATES if self.switches.get(gate, "warn") != "off")
        digest = digest_of(kept.path.text) if "twin" in on else 0
        hits = find_hits(texts_of(asked, kept, twin=self.twins.earlier(digest) is not None), gates=on)
        gates = {hit.gate for hit in hits}
        out = next((gate for gate in GATES if gate in gates and self.switches.get(gate) == "exclude"), None)
        if out is None:
            self.twins.remember(digest, (asked.question.pk, kept.slot))
        return hits, out

    def count(self, hits: Sequence[Hit], out: Gate | None) -> None:
        """One record, once it is known that nothing else keeps it out."""
        self.records += 1
        self.flagged += bool(hits)
        self.found.update({hit.gate for hit in hits})
        if out:
            self.excluded += 1
            self.left_out[out] += 1

    def twin_of(self, kept: Kept) -> Place | None:
        return self.twins.earlier(digest_of(kept.path.text))


def texts_of(asked: Asked, kept: Kept, *, twin: bool) -> Texts:
    path, response = kept.path, kept.response
    return Texts(
        cot=path.text,
        response=response.text,
        key=asked.question.key_letter,
        cot_answer=path.answer,
        response_answer=response.answer,
        finish_reason=path.finish_reason,
        twin=twin,
    )
