"""What the gates find in the records of a run, as they would leave now, with samples to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from apps.exports.gates.checks import find_hits
from apps.exports.gates.keeper import Gatekeeper, Looker, texts_of
from apps.exports.gates.texts import Finding, Gate, finding_of
from apps.exports.gates.twins import Place
from apps.exports.lineage import read_pages
from apps.questions.models import Question
from apps.reasoning.models import Run

SAMPLES = 5  # a gate


@dataclass(slots=True)
class Sample:
    """`twin` names the earlier record with the same reasoning: (uid, slot)."""

    uid: str
    slot: int
    finding: Finding
    twin: tuple[str, int] | None = None


@dataclass(slots=True)
class Report:
    """`counts`: records by gate; one with findings in CoT and response counts once. `samples`: the first of each gate."""

    records: int = 0
    flagged: int = 0  # records with any finding
    counts: Counter[Gate] = field(default_factory=Counter)
    samples: defaultdict[Gate, list[Sample]] = field(default_factory=lambda: defaultdict(list))


def check_run(
    run: Run,
    *,
    samples: int = SAMPLES,
    watch: Callable[[int], None] = lambda questions: None,
) -> Report:
    """Every record of the run, read in pages; `watch` is told after each how many questions were read.

    Raises LedgerBrokenError, and what `watch` raises to stop it.
    """
    looker, keeper, report, questions = Looker(run), Gatekeeper({}), Report(), 0
    twins: list[tuple[Sample, Place]] = []
    for page in read_pages(run):
        looked = iter(looker.look(page))
        for asked in page:
            for kept in asked.kept:
                found, _ = keeper.decide(next(looked), (asked.question.pk, kept.slot))
                keeper.count(found, None)
                wanted = frozenset(gate for gate in found if len(report.samples[gate]) < samples)
                texts = texts_of(asked, kept, twin="twin" in wanted)
                for hit in find_hits(texts, gates=wanted) if wanted else ():
                    if len(report.samples[hit.gate]) == samples:
                        continue  # the record's other text took the last place
                    sample = Sample(asked.question.uid, kept.slot, finding_of(hit, texts))
                    report.samples[hit.gate].append(sample)
                    if hit.gate == "twin" and (place := keeper.twin_of(kept)):
                        twins.append((sample, place))
        questions += len(page)
        watch(questions)
    looker.memory.write()
    _name_twins(twins)
    report.records, report.flagged, report.counts = keeper.records, keeper.flagged, keeper.found
    return report


def _name_twins(twins: list[tuple[Sample, Place]]) -> None:
    uids = dict(Question.objects.filter(pk__in={pk for _, (pk, _) in twins}).values_list("pk", "uid"))
    for sample, (pk, slot) in twins:
        sample.twin = uids[pk], slot
