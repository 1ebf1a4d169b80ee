"""Opening a certification: the plan is checked, the seed fixed, the sample drawn and stored, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from apps.exports.certificate.bounds import Misses
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.frozen import strata_in_order, stratum_sizes
from apps.exports.certificate.misses import people_with, planned_misses
from apps.exports.certificate.plan import CertificatePlan, CertificatePlanError, settle_plan, sizes_of
from apps.exports.models import ExportState, Snapshot, SnapshotRecord
from apps.exports.models_certificate import Certification, CertificationState, SampleRecord
from apps.questions.access import ROLES
from reasonmed_verify.drawing import draw_sample, draw_strata

BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a certification would take. `strata`: (name, records, drawn). `misses` as they are counted at this moment."""

    plan: CertificatePlan
    strata: list[tuple[str, int, int]]
    misses: Misses | None
    people: int

    @property
    def size(self) -> int:
        return sum(drawn for _, _, drawn in self.strata)

    @property
    def judgments(self) -> int:
        return self.size * self.plan.overlap


def forecast_certification(
    *, snapshot: Snapshot, plan: CertificatePlan, role: str, reviewers: Iterable[User] = ()
) -> Forecast:
    """Raises CertificateRefusedError: these records cannot be certified, or not so."""
    root_of(snapshot)
    if role and role not in ROLES:
        raise CertificateRefusedError("There is no such role.", field="role")
    project = snapshot.run.project
    people = people_with(project, role, [user.pk for user in reviewers])
    misses = planned_misses(plan, project, people)
    sizes = stratum_sizes(snapshot, plan.by)
    try:
        settled = settle_plan(plan, sizes, misses=misses)
        drawn = sizes_of(settled, sizes, misses=misses)
    except CertificatePlanError as error:
        raise CertificateRefusedError(str(error), field=error.field) from error
    strata = [(name, records, drawn[name]) for name, records in sizes.items()]
    return Forecast(settled, strata, misses, len(people))


def open_certification(
    *, snapshot: Snapshot, plan: CertificatePlan, role: str, reviewers: Iterable[User] = (), by: User | None = None
) -> Certification:
    """Raises CertificateRefusedError, also where these records (the same root) were studied before."""
    named = list(reviewers)
    found = forecast_certification(snapshot=snapshot, plan=plan, role=role, reviewers=named)
    if found.people < plan.overlap:
        raise CertificateRefusedError(
            f"{plan.overlap} people are to judge each record, and {found.people} may: name more, or ask for fewer.",
            field="overlap",
        )
    root = root_of(snapshot)
    try:
        with transaction.atomic():
            study = Certification.objects.create(
                snapshot=snapshot,
                root=root,
                plan=found.plan.model_dump(mode="json"),
                seed=f"{root}:{secrets.token_hex(16)}",  # after the records are fixed, and nobody's choice
                overlap=plan.overlap,
                role=role,
                records=snapshot.records,
                strata=found.strata,
                size=found.size,
                created_by=by,
            )
            study.reviewers.set(named)
            _draw(study, found)
    except IntegrityError as error:
        raise _studied(root, error) from error
    return study


def root_of(snapshot: Snapshot) -> str:
    """The Merkle root of an export that can be certified. Raises CertificateRefusedError."""
    manifest = snapshot.manifest
    if snapshot.state != ExportState.DONE or not manifest:
        raise CertificateRefusedError("Only an export that is done has records to judge.")
    if not snapshot.records:
        raise CertificateRefusedError("This export has no records.")
    if not manifest.get("signed_by") and not manifest["simulated"]:
        raise CertificateRefusedError(
            "This export is not signed, so nothing could vouch for its certificate. Set REASONMED_SIGNING_KEY for the "
            "workers and build it again."
        )
    held = SnapshotRecord.objects.filter(snapshot=snapshot).count()
    if "merkle" not in manifest or held != snapshot.records:
        raise CertificateRefusedError(
            "This export was built by an earlier version that did not keep which records it holds. Build it again."
        )
    return str(manifest["merkle"]["root"])


def drawn_numbers(study: Certification) -> list[int]:
    """The sample in the order drawn, worked out again from the seed."""
    sizes = {name: drawn for name, _, drawn in study.strata}
    by = CertificatePlan.model_validate(study.plan).by
    if by is None:
        return draw_sample(study.records, study.size, seed=study.seed)
    return draw_strata(strata_in_order(study.snapshot, by), sizes, seed=study.seed)


def _draw(study: Certification, found: Forecast) -> None:
    numbers = drawn_numbers(study)
    by, only = found.plan.by, found.strata[0][0]
    strata = strata_in_order(study.snapshot, by) if by else []
    for start in range(0, len(numbers), BATCH):
        part = numbers[start : start + BATCH]
        held = dict(SnapshotRecord.objects.filter(snapshot=study.snapshot, number__in=part).values_list("number", "pk"))
        SampleRecord.objects.bulk_create(
            SampleRecord(
                certification=study,
                held_id=held[number],
                number=number,
                position=position,
                stratum=strata[number] if by else only,
            )
            for position, number in enumerate(part, start=start + 1)
        )


def _studied(root: str, error: IntegrityError) -> CertificateRefusedError:
    before = Certification.objects.filter(root=root).exclude(state=CertificationState.WITHDRAWN).first()
    if before is None:
        raise error
    if before.state == CertificationState.OPEN:
        return CertificateRefusedError("A certification of these records is open already.")
    return CertificateRefusedError(
        "These records were studied before. Correct what was found and certify the next candidate, with a fresh sample: "
        "trying until a sample pleases would make the confidence untrue."
    )
