"""Contamination in an export: questions that stand in an evaluation set, and questions that stand in the export already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.exports.config import Contamination
from apps.exports.making.parts import WHOLE, Open
from apps.exports.models_checks import Inspection, PairScope

CONTAMINATED = "contaminated"  # in an evaluation set, or close to a question in it
NEAR_DUPLICATE = "near_duplicate"  # of a question that leaves
KINDS = ("itself", "exact", "near")


class ContaminationSieve:
    """Rests on an inspection of the whole run, which is made when the first page comes, where none is kept."""

    def __init__(self, chosen: Contamination, inspect: Callable[[], Inspection]) -> None:
        self._chosen, self._inspect = chosen, inspect
        self._inspection: Inspection | None = None
        self._kinds: dict[int, str] = {}  # question in an evaluation set → how
        self._groups: dict[int, int] = {}  # question like others of the run → its group
        self._left: set[int] = set()  # groups of which a question leaves
        self._found: Counter[str] = Counter()
        self._out: Counter[str] = Counter()

    def sift(self, page: Sequence[Open], out: Mapping[tuple[int, int], str]) -> dict[tuple[int, int], str]:
        if self._inspection is None:
            self._read(self._inspect())
        found: dict[tuple[int, int], str] = {}
        for question in page:
            if _stays(question, out):
                continue
            if why := self._look(question.pk):
                found[question.pk, WHOLE] = why
        return found

    def settle(self, out: Mapping[tuple[int, int], str]) -> None:
        """Nothing: it is asked last, and counts what the others leave."""

    def _look(self, pk: int) -> str | None:
        if kind := self._kinds.get(pk):
            self._found[kind] += 1
            if self._chosen.policy == "exclude":
                self._out[CONTAMINATED] += 1
                return CONTAMINATED
        group = self._groups.get(pk)
        if group is None:
            return None
        if group not in self._left:
            self._left.add(group)
            return None
        self._found["within"] += 1
        if self._chosen.within == "exclude":
            self._out[NEAR_DUPLICATE] += 1
            return NEAR_DUPLICATE
        return None

    def _read(self, inspection: Inspection) -> None:
        self._inspection = inspection
        near: list[tuple[int, int]] = []
        pairs = inspection.pairs.order_by("id").values_list("scope", "left_id", "right_id", "exact")
        for scope, left, right, exact in pairs.iterator(chunk_size=5_000):
            if scope == PairScope.WITHIN:
                near.append((left, right))
            else:
                kind = "itself" if scope == PairScope.ITSELF else "exact" if exact else "near"
                self._kinds[left] = min(kind, self._kinds.get(left, kind), key=KINDS.index)
        self._groups = groups_of(near)

    def told(self) -> dict[str, Any]:
        """For the manifest. Questions that were ready to leave: found, and left out."""
        result = self._inspection.result if self._inspection else None
        return {
            "contamination": {
                "policy": self._chosen.policy,
                "within": self._chosen.within,
                "threshold": self._chosen.threshold,
                "evaluation_questions": result["evaluation_questions"] if result else 0,
                "sets": result["sets"] if result else [],
                "not_compared": result["not_compared"] if result else [],
                "questions": {kind: self._found[kind] for kind in (*KINDS, "within")},
                "left_out": {reason: self._out[reason] for reason in (CONTAMINATED, NEAR_DUPLICATE)},
            }
        }

    @property
    def warnings(self) -> list[str]:
        said = []
        in_sets = sum(self._found[kind] for kind in KINDS)
        if self._chosen.policy == "warn" and in_sets:
            said.append(f"{in_sets:,} exported questions stand in an evaluation set, or come close to one in it")
        if self._chosen.within == "warn" and (n := self._found["within"]):
            said.append(f"{n:,} exported questions are nearly the same as an earlier one")
        missing = self._inspection.result["not_compared"] if self._inspection else []
        if self._chosen.policy != "keep" and missing:
            said.append(f"contamination is not known for {', '.join(missing)}: not in the database")
        return said


def _stays(question: Open, out: Mapping[tuple[int, int], str]) -> bool:
    """Something else keeps it out: the question, or each of its records."""
    return (question.pk, WHOLE) in out or all((question.pk, slot) in out for slot in question.slots)


def groups_of(pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Question → the first question of those it hangs together with, over any number of pairs."""
    parent: dict[int, int] = {}

    def root(pk: int) -> int:
        while (above := parent.setdefault(pk, pk)) != pk:
            parent[pk] = parent[above]
            pk = above
        return pk

    for left, right in pairs:
        a, b = sorted((root(left), root(right)))
        parent[b] = a
    return {pk: root(pk) for pk in list(parent)}
