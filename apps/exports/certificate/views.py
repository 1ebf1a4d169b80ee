"""A certificate's pages: what is planned, how it stands while people judge, what it says at the end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HTMX_STOP_POLLING

from apps.exports.certificate.claims import release_records
from apps.exports.certificate.closing import document_of, give_up, request_certificate
from apps.exports.certificate.errors import CertificateRefusedError
from apps.exports.certificate.forms import CertificateForm
from apps.exports.certificate.misses import misses_of
from apps.exports.certificate.opening import Forecast, forecast_certification, open_certification
from apps.exports.certificate.standing import Standing, plan_of, standing_of
from apps.exports.certificate.words import expected_words, picture_of, plan_words
from apps.exports.models import Snapshot
from apps.exports.models_certificate import (
    Certification,
    CertificationState,
    Fault,
    Outcome,
    SampleClaim,
    SampleJudgment,
)
from apps.exports.selectors import snapshots_of
from apps.questions.access import CONSUMER, CURATOR, has_role, project_of, role_required
from apps.review.models import ClaimState, SkipReason

LIVE = (CertificationState.OPEN, CertificationState.SIGNING)
SHOWN_FAULTS = 200


def studies_of(request: HttpRequest) -> Any:
    rows = Certification.objects.filter(snapshot__in=snapshots_of(project_of(request)).order_by())
    return rows.select_related("snapshot__run__project", "created_by", "closed_by").order_by("-pk")


def study_of(snapshot: Snapshot) -> Certification | None:
    """The one of its records that counts. It may have been made in another export of the same records."""
    root = (snapshot.manifest or {}).get("merkle", {}).get("root", "")
    rows = Certification.objects.filter(root=root).exclude(state=CertificationState.WITHDRAWN)
    return rows.select_related("snapshot__run__project", "created_by", "closed_by").first()


@role_required(CONSUMER)
@require_safe
@vary_on_headers("HX-Request")
def certificate(request: HttpRequest, export_id: UUID) -> HttpResponse:
    """Where it stands; for htmx its live part. Figures of a study that is open are for curators alone."""
    snapshot = get_object_or_404(snapshots_of(project_of(request)), pk=export_id)
    study, curator = study_of(snapshot), has_role(request.user, CURATOR)
    context: dict[str, Any] = {"snapshot": snapshot, "study": study, "curator": curator}
    if study is not None and study.snapshot_id != snapshot.pk:
        context |= {"study": None, "elsewhere": study}
        study = None
    if study is not None:
        assert isinstance(request.user, User)
        context |= {"plan": plan_of(study), "plan_words": plan_words(plan_of(study), study.size)}
        standing = standing_of(study)
        context["admitted"] = study.is_open and not standing.decided and study.admits(request.user)
        if curator:
            context |= _live(study, standing)
        if study.state in (CertificationState.PUBLISHED, CertificationState.ENDED):
            context |= {"faults": _faults(study), "most": SHOWN_FAULTS}
    if request.headers.get("HX-Request"):
        status = 200 if study is not None and study.state in LIVE else HTMX_STOP_POLLING
        return render(request, "exports/certificate/_certificate.html", context, status=status)
    return render(request, "exports/certificate/certificate.html", context)


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def certificate_new(request: HttpRequest, export_id: UUID) -> HttpResponse:
    """The form with its preview (for htmx the preview alone). A POST draws the sample and opens judging."""
    project, posted = project_of(request), request.method == "POST"
    snapshot = get_object_or_404(snapshots_of(project), pk=export_id)
    data = request.POST if posted else request.GET
    form = CertificateForm(data if posted or "kind" in data else None, project=project)
    found = _preview(form, snapshot)
    if posted and found is not None and form.plan is not None and not form.errors:
        try:
            study = open_certification(snapshot=snapshot, by=_author(request), plan=form.plan, **_people(form))
            messages.success(request, f"{study.size:,} records are drawn and wait to be judged.")
            return redirect("certificate", snapshot.pk)
        except CertificateRefusedError as error:
            form.refuse(str(error), error.field)
    context: dict[str, Any] = {"form": form, "snapshot": snapshot, "forecast": found}
    if found is not None:
        context |= {"plan_words": plan_words(found.plan, found.size), "expected": expected_words(found)}
    if request.headers.get("HX-Request"):
        return render(request, "exports/certificate/_preview.html", context)
    refused = form.is_bound and bool(form.errors)
    return render(request, "exports/certificate/new.html", context, status=422 if refused else 200)


@role_required(CURATOR)
@require_http_methods(["GET", "HEAD", "POST"])
def certificate_close(request: HttpRequest, study_id: int) -> HttpResponse:
    """Shows what ending it means; a POST says `do`: publish, or give_up."""
    study = the_study(request, study_id)
    if request.method == "POST":
        do = {"publish": request_certificate, "give_up": give_up}.get(request.POST.get("do", ""))
        try:
            if do is None:
                raise CertificateRefusedError("Say whether to publish it or to give it up.")
            done = do(study=study, by=_author(request))
        except CertificateRefusedError as error:
            return render(request, "exports/certificate/close.html", _ending(study, str(error)), status=422)
        messages.success(request, DONE[done.state])
        return redirect("certificate", study.snapshot_id)
    return render(request, "exports/certificate/close.html", _ending(study))


DONE: dict[str, str] = {
    CertificationState.SIGNING: "Judging is over. A worker signs the certificate and writes it beside the records.",
    CertificationState.ENDED: "It is given up. These records are not certified any more; the next candidate may be.",
    CertificationState.WITHDRAWN: "It is withdrawn: nothing had been judged.",
}


@role_required(CURATOR)
@require_POST
def certificate_release(request: HttpRequest, study_id: int) -> HttpResponse:
    """What is on a screen or was passed on goes back, so that anyone may take it."""
    study = the_study(request, study_id)
    released = release_records(study=study)
    said = f"{released:,} record{'' if released == 1 else 's'} can be taken again." if released else "Nothing was held."
    messages.success(request, said)
    return redirect("certificate", study.snapshot_id)


def the_study(request: HttpRequest, study_id: int) -> Certification:
    found: Certification = get_object_or_404(studies_of(request), pk=min(study_id, 2**63 - 1))
    return found


def _ending(study: Certification, problem: str = "") -> dict[str, Any]:
    standing = standing_of(study)
    said = document_of(study, standing)["sentence"] if standing.decided else ""
    return {"study": study, "standing": standing, "says": said, "problem": problem}


def _live(study: Certification, standing: Standing) -> dict[str, Any]:
    claims = SampleClaim.objects.filter(record__certification=study)
    on_screen = claims.filter(state=ClaimState.LIVE, slot__isnull=False, expires_at__gt=timezone.now()).count()
    passed = claims.filter(state=ClaimState.SKIPPED).order_by().values_list("skip_reason").annotate(n=Count("pk"))
    said = SampleJudgment.objects.filter(record__certification=study, current=True, wrong__isnull=False)
    return {
        "standing": standing,
        "strata": list(zip(standing.strata, study.strata, strict=True)),
        "misses": misses_of(study),
        "picture": picture_of(study, standing.judged),
        "on_screen": on_screen,
        "passed": [(SkipReason(code).label, n) for code, n in sorted(passed)],
        "judgments": said.count(),
        "people": said.order_by().values("reviewer").distinct().count(),
    }


def _faults(study: Certification) -> list[dict[str, Any]]:
    """What was found wrong, in the order drawn: for the next candidate."""
    rows = study.drawn.filter(outcome=Outcome.WRONG).select_related("held__question")
    found = []
    for record in rows[:SHOWN_FAULTS]:
        said = record.judgments.filter(current=True, wrong=True).order_by("pk")
        reasons = list(dict.fromkeys(Fault(code).label for judgment in said for code in judgment.faults))
        comments = [judgment.comment for judgment in said if judgment.comment]
        found.append({"record": record, "reasons": reasons, "comments": comments})
    return found


def _preview(form: CertificateForm, snapshot: Snapshot) -> Forecast | None:
    """None when nothing was said yet or it will not do; why stands in the form then."""
    if not form.is_bound or not form.is_valid() or form.plan is None:
        return None
    try:
        return forecast_certification(snapshot=snapshot, plan=form.plan, **_people(form))
    except CertificateRefusedError as error:
        form.refuse(str(error), error.field)
        return None


def _people(form: CertificateForm) -> dict[str, Any]:
    said = form.cleaned_data
    return {"role": said["role"], "reviewers": list(said["reviewers"])}


def _author(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
