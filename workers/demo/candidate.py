"""A candidate of the sample run with what looks through it and a certificate half judged, so that those pages show something.

All of it rests on simulated calls and simulated reviewers: it cannot be certified or published, and says so.
"""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.models import Group, User

from apps.exports.certificate.claims import claim_next
from apps.exports.certificate.judging import RecordSaid, judge_record
from apps.exports.certificate.opening import open_certification
from apps.exports.certificate.plan import CertificatePlan
from apps.exports.config import ExportConfig
from apps.exports.inspections.services import order_inspection, run_queued_inspections
from apps.exports.models import ExportState, Snapshot
from apps.exports.models_certificate import Certification
from apps.exports.models_checks import InspectionKind
from apps.exports.records import VARIANTS
from apps.exports.services import build_queued_exports, create_export
from apps.questions.access import CLINICIAN, default_project
from apps.reasoning.models import Run

REVIEWER = "simulated-reviewer"  # nobody can log in as this one
PLAN = CertificatePlan(rate=0.05, accept=1)
JUDGED = 2 / 3  # of the records drawn; the others are left to whoever tries it
WRONG = {17: ("wrong_fact", "Simulated: nobody read this record.")}  # the how-manieth, why


def ensure_candidate(run: Run) -> Snapshot | None:
    """Made once, when the run has records and nobody exported it yet."""
    if Snapshot.objects.filter(run=run).exists():
        return None
    for kind in (InspectionKind.GATES, InspectionKind.CONTAMINATION):
        order_inspection(project=run.project, kind=kind, run=run)
    order_inspection(project=run.project, kind=InspectionKind.CONTAMINATION)  # of all that may be trained on
    run_queued_inspections()
    made = create_export(run=run, variants=VARIANTS, format="jsonl", config=ExportConfig(forms=("messages",)))
    build_queued_exports()
    made.refresh_from_db()
    if made.state == ExportState.DONE and made.records:
        reviewer = _reviewer()
        _judge(open_certification(snapshot=made, plan=PLAN, role=CLINICIAN, reviewers=[reviewer]), reviewer)
    return made


def _judge(study: Certification, reviewer: User) -> None:
    for n in range(1, round(JUDGED * study.size) + 1):
        claim = claim_next(study=study, reviewer=reviewer)
        if claim is None:
            return
        fault, comment = WRONG.get(n, ("", ""))
        said = RecordSaid(wrong=bool(fault), faults=[fault] if fault else [], comment=comment)
        judge_record(record=claim.record, reviewer=reviewer, token=claim.token, said=said, idempotency_key=uuid4())


def _reviewer() -> User:
    user, made = User.objects.get_or_create(
        username=REVIEWER, defaults={"first_name": "Simulated", "last_name": "reviewer"}
    )
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
        user.groups.add(Group.objects.get(name=CLINICIAN))
        default_project().members.add(user)
    return user
