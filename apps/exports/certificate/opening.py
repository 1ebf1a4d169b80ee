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
from apps.exports.certificate.planted import KnownFault, choose_faults, known_faults, places_among
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
    faults: list[KnownFault]  # that may be mixed in; none where the plan asks for none

    @property
    def size(self) -> int:
        return sum(drawn for _, _, drawn in self.strata)

    @property
    def judgments(self) -> int:
        return (self.size + self.plan.planted) * self.plan.overlap


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
    faults = known_faults(snapshot, people=people, overlap=plan.overlap) if plan.planted else []
    if plan.planted > len(faults):
        raise _too_few(len(faults), plan.planted)
    return Forecast(settled, strata, misses, len(people), faults)


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
                seed=_seed_of(root),
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


def _too_few(found: int, asked: int) -> CertificateRefusedError:
    return CertificateRefusedError(
        f"{asked:,} are to be mixed in, and there {'is' if found == 1 else 'are'} {found:,}: paths that end at the key and "
        "were found wrong by people other than those who judge here, or records that an earlier study found wrong.",
        field="known",
    )


def _seed_of(root: str) -> str:
    """Made after the records are fixed, and nobody's choice: that of the first study ever opened of these records, so that
    withdrawing and opening again draws no other sample."""
    before = Certification.objects.filter(root=root).order_by("pk").first()
    return before.seed if before else f"{root}:{secrets.token_hex(16)}"


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
    held: dict[int, int] = {}
    for start in range(0, len(numbers), BATCH):
        rows = SnapshotRecord.objects.filter(snapshot=study.snapshot, number__in=numbers[start : start + BATCH])
        held |= dict(rows.values_list("number", "pk"))
    drawn = iter(
        [
            SampleRecord(certification=study, held_id=held[n], number=n, stratum=strata[n] if by else only)
            for n in numbers
        ]
    )
    among = iter(_plant(study, found, set(held.values())))
    places = places_among(len(numbers), found.plan.planted, within=_early(found))
    records = []
    for position in range(1, len(numbers) + len(places) + 1):
        records.append(next(among) if position in places else next(drawn))
        records[-1].position = position
    SampleRecord.objects.bulk_create(records, batch_size=BATCH)


def _plant(study: Certification, found: Forecast, drawn: set[int]) -> list[SampleRecord]:
    """Raises CertificateRefusedError where the sample left too few."""
    chosen = choose_faults(found.faults, found.plan.planted, drawn=drawn)
    if len(chosen) < found.plan.planted:
        raise _too_few(len(chosen), found.plan.planted)
    return [SampleRecord(certification=study, held_id=f.held, number=f.number, planted_id=f.path) for f in chosen]


def _early(found: Forecast) -> int:
    """Known faults come among so many records: all of a sample, or as many as a sequential test takes at least."""
    return found.plan.sprt.fewest if found.plan.kind == "sequential" else found.size


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
