"""Who judged for a certificate, and what of them a reader has to know."""

from __future__ import annotations

from dataclasses import dataclass

from apps.exports.certificate.misses import gold_judgments, people_with
from apps.exports.certificate.plan import CertificatePlan
from apps.exports.models_certificate import Certification, SampleJudgment
from apps.questions.access import CURATOR


@dataclass(frozen=True, slots=True)
class Reviewers:
    """`informed`: may see what was found so far (curators); `unmeasured`: judged none of the known faults by which misses
    are measured."""

    ids: list[int]
    informed: int
    unmeasured: int

    @property
    def words(self) -> list[str]:
        said = []
        if self.informed:
            said.append(f"{self._so_many(self.informed)} could see what was found so far while judging.")
        if self.unmeasured:
            said.append(f"{self._so_many(self.unmeasured)} judged none of the known faults.")
        return said

    def _so_many(self, n: int) -> str:
        return f"{n:,} of the {len(self.ids):,} reviewers" if len(self.ids) > 1 else "The reviewer"


def reviewers_of(study: Certification, plan: CertificatePlan) -> Reviewers:
    said = SampleJudgment.objects.filter(record__certification=study, current=True, wrong__isnull=False).order_by()
    ids = set(said.values_list("reviewer", flat=True))
    measured = ids
    if plan.planted:
        measured = set(said.filter(record__planted__isnull=False).values_list("reviewer", flat=True))
    elif plan.misses == "gold":
        measured = set(gold_judgments(study.snapshot.run.project, ids).values_list("reviewer", flat=True))
    informed = ids & set(people_with(study.snapshot.run.project, CURATOR, ()))
    return Reviewers(sorted(ids), len(informed), len(ids - measured))
