"""The nine evaluation sets of the project, and how much of each there is to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.questions.selectors import composition

NAMES = {"medqa": "MedQA", "medmcqa": "MedMCQA", "pubmedqa": "PubMedQA", "mmlu": "MMLU"}


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """`imported` questions stand in the database, of the `published` ones. None of them: nothing was compared with it."""

    benchmark: str
    split: str
    subject: str
    published: int
    imported: int

    @property
    def name(self) -> str:
        """MMLU college medicine test"""
        words = (NAMES.get(self.benchmark, self.benchmark), self.subject.replace("_", " "), self.split)
        return " ".join(filter(None, words))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "published": self.published, "imported": self.imported}


def evaluation_sets() -> list[EvaluationSet]:
    """All nine, in the order of the published table. One pass over the questions."""
    return [
        EvaluationSet(row.benchmark, row.split, row.subject, row.published or 0, row.imported)
        for row in composition().held_out
    ]
