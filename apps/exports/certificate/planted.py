"""Known faults among the records of a sample: what its reviewers call right of them is what they overlook.

Two kinds, which nobody can tell from the records drawn:
- a path that people found wrong though it ends at the key, in the place of the path of a record of the same question;
- a record that an earlier study found wrong.
Faults that a look at the answer shows are left out: no record leaves with them, so finding them says nothing.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Q

from apps.exports.models import Snapshot, SnapshotRecord
from apps.exports.models_certificate import CertificationState, Outcome, SampleJudgment, SampleRecord
from apps.questions.models import Question
from apps.reasoning.models import Label, PathLabel, Verdict, VerdictSource

CUT_OFF = "length"  # finish reason of a path that does not end: anyone sees that
SAID_BY_PEOPLE = (VerdictSource.PERSON, VerdictSource.ADJUDICATION)


@dataclass(frozen=True, slots=True)
class KnownFault:
    """`held`: the record that gives question and response; `path`: the one known to be wrong."""

    held: int
    number: int
    path: int


def known_faults(snapshot: Snapshot, *, people: Collection[int], overlap: int) -> list[KnownFault]:
    """All that at least `overlap` of the people have not seen judged by themselves, one a path, in the order of paths."""
    found = {fault.path: fault for fault in [*_wrong_paths(snapshot), *_wrong_records(snapshot)]}
    knowing = _who_knows(snapshot, found, people)
    return [found[path] for path in sorted(found) if len(set(people) - knowing[path]) >= overlap]


def choose_faults(faults: Collection[KnownFault], size: int, *, drawn: Collection[int]) -> list[KnownFault]:
    """`size` of them at random, of records that are not among those `drawn`; fewer where there are no more.

    No seed tells which: it is published, and who judges could draw them again.
    """
    free = [fault for fault in faults if fault.held not in drawn]
    return secrets.SystemRandom().sample(free, min(size, len(free)))


def places_among(size: int, faults: int, *, within: int) -> set[int]:
    """The places from 1 on that known faults take among all `size + faults`, at random in the first `within + faults`."""
    return set(secrets.SystemRandom().sample(range(1, min(within, size) + faults + 1), faults))


def _wrong_paths(snapshot: Snapshot) -> list[KnownFault]:
    labels = PathLabel.objects.filter(
        run=snapshot.run_id,
        label=Label.ERROR,
        source__in=SAID_BY_PEOPLE,
        disputed=False,
        path__current=True,
    ).exclude(path__finish_reason=CUT_OFF)
    said = labels.values_list("question", "path", "path__answer", "question__key")
    wrong = {path: question for question, path, answer, key in said if answer in ("", _letter(key))}
    rows = SnapshotRecord.objects.filter(snapshot=snapshot, question__in=set(wrong.values())).order_by("-slot")
    records = {question: (pk, number) for question, pk, number in rows.values_list("question", "pk", "number")}
    leaving = set(SnapshotRecord.objects.filter(snapshot=snapshot, path__in=list(wrong)).values_list("path", flat=True))
    return [KnownFault(*records[q], path) for path, q in wrong.items() if q in records and path not in leaving]


def _wrong_records(snapshot: Snapshot) -> list[KnownFault]:
    """Of studies that are over, in exports that show as much of a record as this one does, and no longer in this one."""
    rows = SampleRecord.objects.filter(
        certification__snapshot__project=snapshot.project_id,
        certification__state__in=(CertificationState.PUBLISHED, CertificationState.ENDED),
        outcome=Outcome.WRONG,
        planted=None,
    ).exclude(held__content__in=SnapshotRecord.objects.filter(snapshot=snapshot).values("content"))
    return [
        KnownFault(record.held_id, record.number, record.held.path_id)
        for record in rows.select_related("held", "certification__snapshot").order_by("pk")
        if shown_of(record.certification.snapshot) == shown_of(snapshot)
    ]


def _who_knows(snapshot: Snapshot, found: Collection[int], people: Collection[int]) -> defaultdict[int, set[int]]:
    """{path: people who said something of it}"""
    knowing: defaultdict[int, set[int]] = defaultdict(set)
    verdicts = Verdict.objects.filter(path__in=list(found), reviewer__in=list(people), current=True)
    judged = SampleJudgment.objects.filter(
        Q(record__held__path__in=list(found)) | Q(record__planted__in=list(found)), reviewer__in=list(people)
    )
    for path, person in verdicts.exclude(label=Label.UNJUDGED).values_list("path", "reviewer"):
        knowing[path].add(person)
    for path, planted, person in judged.values_list("record__held__path", "record__planted", "reviewer"):
        knowing[planted or path].add(person)
    return knowing


def shown_of(snapshot: Snapshot) -> tuple[bool, bool]:
    """Whether a record shows its reasoning, and its response."""
    variants = set(snapshot.variants)
    return bool(variants & {"cotmed", "reasonmed"}), bool(variants & {"responsemed", "reasonmed"})


def _letter(key: int) -> str:
    return Question(key=key).key_letter
