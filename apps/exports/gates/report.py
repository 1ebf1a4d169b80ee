"""What the gates find in the records of a run, as they would leave now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from apps.exports.gates.checks import Finding, Gate, Texts, check_record
from apps.exports.lineage import Asked, read_pages
from apps.reasoning.models import Run

SAMPLES = 5  # a gate


@dataclass(frozen=True, slots=True)
class Sample:
    uid: str
    slot: int
    finding: Finding


@dataclass(slots=True)
class Report:
    """`counts`: records by gate; one with findings in CoT and response counts once. `samples`: the first of each gate."""

    records: int = 0
    flagged: int = 0  # records with any finding
    counts: Counter[Gate] = field(default_factory=Counter)
    samples: defaultdict[Gate, list[Sample]] = field(default_factory=lambda: defaultdict(list))


def check_run(run: Run) -> Report:
    """Every record of the run, read in pages. Raises LedgerBrokenError."""
    report = Report()
    for page in read_pages(run):
        for asked in page:
            for slot, texts in records_of(asked):
                found = check_record(texts)
                report.records += 1
                report.flagged += bool(found)
                report.counts.update({finding.gate for finding in found})
                for finding in found:
                    if len(report.samples[finding.gate]) < SAMPLES:
                        report.samples[finding.gate].append(Sample(asked.question.uid, slot, finding))
    return report


def records_of(asked: Asked) -> Iterator[tuple[int, Texts]]:
    """(slot, texts) of a question's records; each knows the paths in the slots before it."""
    earlier: list[str] = []
    for kept in asked.kept:
        path, response = kept.path, kept.response
        yield (
            kept.slot,
            Texts(
                cot=path.text,
                response=response.text,
                key=asked.question.key_letter,
                cot_answer=path.answer,
                response_answer=response.answer,
                finish_reason=path.finish_reason,
                earlier=tuple(earlier),
            ),
        )
        earlier.append(path.text)
