"""The gates over records one after the other, as an export and a report meet them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from apps.exports.gates.checks import find_hits
from apps.exports.gates.memory import Known, Memory, bits_of, content_of, gates_of
from apps.exports.gates.texts import GATES, Gate, Switch, Texts
from apps.exports.gates.twins import Place, Twins, digest_of
from apps.exports.lineage import Asked, Kept
from apps.reasoning.models import Run


class Looked(NamedTuple):
    gates: int  # as bits, without `twin`
    twin: int  # digest of the reasoning


class Looker:
    """Looks through records, each for itself: what the gates find in it, its twins apart."""

    def __init__(self, run: Run) -> None:
        self.memory = Memory(run)

    def look(self, page: Sequence[Asked]) -> list[Looked]:
        """In the order of the records."""
        self.memory.recall(page)
        return [self._look(asked, kept) for asked in page for kept in asked.kept]

    def _look(self, asked: Asked, kept: Kept) -> Looked:
        texts = texts_of(asked, kept)
        content = content_of(texts)
        known = self.memory.find(kept.path.pk, content)
        if known is None:
            known = Known(content, frozenset(hit.gate for hit in find_hits(texts)), digest_of(texts.cot))
            self.memory.learn(kept.path.pk, known)
        return Looked(bits_of(known.gates), known.twin)


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
    _on: frozenset[Gate] = field(init=False)

    def __post_init__(self) -> None:
        self._on = frozenset(gate for gate in GATES if self.switches.get(gate, "warn") != "off")

    def decide(self, looked: Looked, place: Place) -> tuple[frozenset[Gate], Gate | None]:
        """The gates that find something in the record, and the one that keeps it out. Only what stays can have a twin later."""
        found = gates_of(looked.gates) & self._on
        if "twin" in self._on and self.twins.earlier(looked.twin):
            found |= {"twin"}
        out = None
        if found:
            out = next((gate for gate in GATES if gate in found and self.switches.get(gate) == "exclude"), None)
        if out is None:
            self.twins.remember(looked.twin, place)
        return found, out

    def count(self, found: Collection[Gate], out: Gate | None) -> None:
        """One record, once it is known that nothing else keeps it out."""
        self.records += 1
        if found:
            self.flagged += 1
            self.found.update(found)
        if out:
            self.excluded += 1
            self.left_out[out] += 1

    def twin_of(self, kept: Kept) -> Place | None:
        return self.twins.earlier(digest_of(kept.path.text))


def texts_of(asked: Asked, kept: Kept, *, twin: bool = False) -> Texts:
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
