"""A certificate on other pages: at its export, and on the review home of those who may judge for it."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth.models import User

from apps.exports.certificate.bounds import Misses
from apps.exports.certificate.claim import percent_up
from apps.exports.certificate.claims import waiting_for
from apps.exports.certificate.plan import CertificatePlan
from apps.exports.certificate.words import percent
from apps.exports.models import Snapshot
from apps.exports.models_certificate import Certification, CertificationState
from apps.questions.access import CLINICIAN, has_role, project_of

register = template.Library()
MOST = 10  # open studies that are asked for a free record


@register.simple_tag
def certificate_of(snapshot: Snapshot) -> Certification | None:
    """The one study of these records that counts; none where there is none."""
    studies = Certification.objects.filter(snapshot=snapshot).exclude(state=CertificationState.WITHDRAWN)
    return studies.select_related("snapshot__run").first()


@register.inclusion_tag("exports/certificate/_waiting.html", takes_context=True)
def certificates_waiting(context: template.Context) -> dict[str, Any]:
    """Open studies with a record for the person; nothing for people who judge nothing."""
    request = context["request"]
    if not has_role(request.user, CLINICIAN):
        return {"studies": []}
    assert isinstance(request.user, User)
    rows = Certification.objects.filter(state=CertificationState.OPEN, snapshot__project=project_of(request))
    admitting = [s for s in rows.select_related("snapshot__run")[:MOST] if s.admits(request.user)]
    free = waiting_for(admitting, request.user)
    return {"studies": [study for study in admitting if study.pk in free]}


@register.simple_tag
def confidence(plan: CertificatePlan) -> str:
    """ "95 % confidence"."""
    return f"{percent(plan.confidence)} confidence"


@register.simple_tag
def miss_words(misses: Misses, plan: CertificatePlan) -> str:
    """ "20 % missed (4 of 20), taken as at most 44 %"."""
    if not misses.known:
        return "No known fault was shown to the reviewers yet: they may overlook all."
    level = (1 + plan.confidence) / 2 if plan.kind != "sequential" else 1 - plan.risk_left
    return f"{percent(misses.rate)} missed, taken as at most {percent_up(misses.highest(level))}"
