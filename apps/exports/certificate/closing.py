"""Ending a certification: by a certificate, whether it holds or not, or by giving up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.exports.certificate.bounds import Misses
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.misses import misses_of
from apps.exports.certificate.people import Reviewers, reviewers_of
from apps.exports.certificate.plan import CertificatePlan, MissSource
from apps.exports.certificate.standing import Standing, plan_of, standing_of
from apps.exports.models_certificate import (
    Certification,
    CertificationState,
    Outcome,
    SampleJudgment,
)
from apps.exports.provenance import pseudonym
from reasonmed_verify.certificate import SCHEMA
from reasonmed_verify.drawing import RULE


def request_certificate(*, study: Certification, by: User | None) -> Certification:
    """End judging and fix what the certificate says; a worker, who has the key, signs and writes it.

    Raises CertificateRefusedError while further judgments could change what is said.
    """
    with transaction.atomic():
        locked = _lock_open(study)
        standing = standing_of(locked)
        if not standing.decided:
            raise CertificateRefusedError(
                f"{standing.left:,} of {standing.total:,} records are still to be judged. Until then nothing can be claimed: "
                "a part of a planned sample does not show what all of it would."
            )
        if not _manifest(locked)["signed_by"]:
            raise CertificateRefusedError("This export is not signed, so its certificate cannot be.")
        locked.document = document_of(locked, standing)
        locked.state = CertificationState.SIGNING
        _closed(locked, by)
    return locked


def give_up(*, study: Certification, by: User | None) -> Certification:
    """Without a certificate. Once something was judged, these records are not certified any more."""
    with transaction.atomic():
        locked = _lock_open(study)
        judged = SampleJudgment.objects.filter(record__certification=locked).exists()
        locked.state = CertificationState.ENDED if judged else CertificationState.WITHDRAWN
        _closed(locked, by)
    return locked


def document_of(study: Certification, standing: Standing) -> dict[str, Any]:
    """What certificate.json says."""
    plan, misses, manifest = plan_of(study), misses_of(study), _manifest(study)
    counted, earlier, people = _counted(study, standing), earlier_studies(study), reviewers_of(study, plan)
    return {
        "schema": SCHEMA,
        "root": study.root,
        "export": str(study.snapshot),
        "records": study.records,
        "sentence": sentence_of(
            plan,
            standing,
            reviewers=people,
            earlier=[holds for _, holds in earlier],
            simulated=bool(manifest["simulated"]),
        ),
        "holds": standing.claim.holds,
        "bound": standing.claim.bound,
        "target": plan.rate,
        "confidence": plan.confidence,
        "plan": study.plan,
        "drawing": {
            "rule": RULE,
            "seed": study.seed,
            "size": study.size,
            "by": plan.by,
            "strata": [{"name": name, "records": n, "drawn": drawn} for name, n, drawn in study.strata],
        },
        "judged": {
            "records": [number for number, _ in counted],
            "wrong": [number for number, outcome in counted if outcome == Outcome.WRONG],
            "decision": standing.progress.decision if standing.progress else None,
        },
        "reviewers": sorted(map(pseudonym, people.ids)),
        "reviewers_informed": people.informed,
        "reviewers_unmeasured": people.unmeasured,
        "reviewers_per_record": study.overlap,
        "rule": rule_words(plan),
        "misses": _misses(study, plan, misses),
        "earlier": [{"root": root, "holds": holds} for root, holds in earlier],
        "simulated": bool(manifest["simulated"]),
        "opened_at": _time(study.created_at),
        "closed_at": _time(timezone.now()),
    }


def earlier_studies(study: Certification) -> list[tuple[str, bool]]:
    """(root, whether it held) of the run's other candidates that were studied before: who tries often enough is lucky once."""
    rows = Certification.objects.filter(snapshot__run=study.snapshot.run_id, pk__lt=study.pk)
    over = (CertificationState.SIGNING, CertificationState.PUBLISHED, CertificationState.ENDED)
    found = rows.filter(state__in=over).order_by("pk").values_list("root", "document")
    return [(root, bool(document and document["holds"])) for root, document in found]


def sentence_of(
    plan: CertificatePlan, standing: Standing, *, reviewers: Reviewers, earlier: Sequence[bool], simulated: bool
) -> str:
    """The claim with what one has to know to read it."""
    said = [standing.claim.sentence]
    if len(reviewers.ids) > 1 or plan.overlap > 1:
        said.append(rule_words(plan))
    if plan.planted:
        said.append(
            "The known faults were mixed among the records drawn and judged by the same people, who were not told."
        )
    if plan.misses == "entered":
        said.append(f"The miss rate was entered: {plan.source.strip().rstrip('.')}.")
    said += reviewers.words
    if earlier:
        were = "candidate of this run was" if len(earlier) == 1 else "candidates of this run were"
        said.append(f"{len(earlier):,} earlier {were} studied; {sum(earlier):,} of them met the target.")
    if simulated:
        said.append("These records rest on simulated model calls.")
    return " ".join(said)


def rule_words(plan: CertificatePlan) -> str:
    if plan.overlap == 1:
        return "Each record was judged by one reviewer."
    by = f"Each record was judged by {plan.overlap} reviewers and counts as wrong if"
    return f"{by} any of them says so." if plan.rule == "any" else f"{by} at least half of them say so."


def _counted(study: Certification, standing: Standing) -> list[tuple[int, str]]:
    """(number, outcome) of the records that the claim rests on, in the order drawn."""
    rows = study.drawn.values_list("number", "outcome")
    return [(number, outcome) for number, outcome in rows[: standing.judged if standing.progress else None] if outcome]


def _misses(study: Certification, plan: CertificatePlan, misses: Misses | None) -> dict[str, Any] | None:
    if misses is None:
        return None
    said = {
        "from": plan.misses,
        "source": plan.source.strip() if plan.misses == "entered" else SOURCES[plan.misses],
        "missed": misses.missed,
        "known": misses.known,
        "spread": misses.spread,
        "interval": misses.interval(plan.confidence),
    }
    return said | ({"items": _items(study)} if plan.planted else {})


SOURCES: dict[MissSource, str] = {
    "gold": "gold items among the review queues' paths",
    "mixed": "known faults mixed among the records drawn",
}


def _items(study: Certification) -> list[dict[str, Any]]:
    """Each known fault that was judged, and whether it was found."""
    rows = study.known_faults.exclude(outcome="").values_list("held__question__uid", "planted", "outcome")
    return [{"question": uid, "path": path, "found": outcome == Outcome.WRONG} for uid, path, outcome in rows]


def _lock_open(study: Certification) -> Certification:
    locked = (
        Certification.objects.select_for_update(of=("self",)).select_related("snapshot__run__project").get(pk=study.pk)
    )
    if not locked.is_open:
        raise CertificateRefusedError("This certification is closed already.")
    return locked


def _closed(study: Certification, by: User | None) -> None:
    study.closed_by, study.closed_at = by, timezone.now()
    study.save(update_fields=["state", "document", "closed_by", "closed_at"])


def _manifest(study: Certification) -> dict[str, Any]:
    manifest: dict[str, Any] | None = study.snapshot.manifest
    assert manifest is not None  # the export is done
    return manifest


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
