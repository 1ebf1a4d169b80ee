"""The records of an export as they were frozen: which there are, of which stratum, and each one's texts to the letter."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, F

from apps.exports.certificate.plan import WHOLE, Trait
from apps.exports.models import Snapshot, SnapshotRecord
from apps.exports.models_certificate import SampleRecord
from apps.exports.records import make_record
from apps.questions.text import join_question
from apps.reasoning.models import Tier
from apps.review.records.content import content_hash

COLUMN: dict[Trait, str] = {"benchmark": "question__benchmark__slug", "tier": "tier"}


class RecordLostError(Exception):
    """The ledger no longer holds the text that left; nothing may be said of this record."""


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """What leaves: the question, and of reasoning and response those that a set of the export holds, else empty."""

    uid: str
    slot: int
    question: str
    reasoning: str
    response: str


def stratum_sizes(snapshot: Snapshot, by: Trait | None) -> dict[str, int]:
    """{stratum: records}, in the strata's order."""
    if by is None:
        return {WHOLE: snapshot.records}
    rows = SnapshotRecord.objects.filter(snapshot=snapshot).order_by().values_list(F(COLUMN[by]))
    order = {str(tier): place for place, tier in enumerate(Tier.values)} if by == "tier" else {}
    return dict(sorted(rows.annotate(n=Count("pk")), key=lambda row: (order.get(row[0], 0), row[0])))


def strata_in_order(snapshot: Snapshot, by: Trait) -> list[str]:
    """The stratum of each record, by its number."""
    rows = SnapshotRecord.objects.filter(snapshot=snapshot).order_by("number")
    return list(rows.values_list(COLUMN[by], flat=True))


def read_record(record: SampleRecord) -> FrozenRecord:
    """Made by the function that writes exports and checked against the hash that was frozen; a known fault with its own path.

    Raises RecordLostError."""
    held, variants = record.held, set(record.certification.snapshot.variants)
    question, cot, response = held.question, held.path.text, held.response.text
    if content_hash(question, cot=cot, response=response) != bytes(held.content).hex():
        raise RecordLostError(
            f"Record {record.number:,} is not in the ledger as it was exported. Tell whoever runs the workbench."
        )
    if record.planted is not None:
        cot = record.planted.text
    made = {
        name: make_record(name, question=question, cot=cot, response=response)["output"]
        for name in ("cotmed", "responsemed")
    }
    return FrozenRecord(
        uid=question.uid,
        slot=held.slot,
        question=join_question(question.contexts, question.stem, question.options),
        reasoning=made["cotmed"] if variants & {"cotmed", "reasonmed"} else "",
        response=made["responsemed"] if variants & {"responsemed", "reasonmed"} else "",
    )
