"""The screen on which records are judged. It speaks the review screen's language, so that its script serves both:
keys, active time, and judgments that are kept in the browser until the server has them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.exports.certificate.claims import claim_next, heartbeat, skip_record, why_none
from apps.exports.certificate.errors import CertificateRefusedError, RecordChangedError
from apps.exports.certificate.frozen import RecordLostError, read_record
from apps.exports.certificate.judging import RecordSaid, judge_record, undo_record
from apps.exports.certificate.views import the_study
from apps.exports.models_certificate import Certification, Fault, SampleClaim, SampleJudgment, SampleRecord
from apps.exports.selectors import snapshots_of
from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR, project_of, role_required
from apps.questions.models import Question
from apps.reasoning.text import split_stem
from apps.review.models import ClaimState, SkipReason
from apps.review.queues.errors import ItemLost, NotAdmitted
from apps.review.queues.said import LONGEST_SITTING_MS
from apps.review.screen.context import literature
from apps.review.screen.forms import number
from apps.review.screen.ranges import NORMAL_RANGES
from apps.review.screen.settings import settings_of
from apps.review.screen.stem import read_blocks, with_values
from apps.review.services import OverrideError, parse_key

judging = role_required(CLINICIAN, CURATOR, ADJUDICATOR)
KEYS = dict(zip(Fault.values, "fmolsgwdqx", strict=True))  # the key that names each reason
WRONG = {"correct": False, "error": True}


@judging
@never_cache
@require_safe
def certificate_work(request: HttpRequest, study_id: int) -> HttpResponse:
    """The next record. A script that asks for the one behind it gets nothing: records are handed out one at a time."""
    study = the_study(request, study_id)
    try:
        claim = None if request.GET.get("after") else claim_next(study=study, reviewer=_person(request))
    except NotAdmitted as error:
        return _lost(request, study, str(error), status=403)
    return _show(request, study, claim)


@judging
@never_cache
@require_safe
def certificate_record(request: HttpRequest, record_id: int) -> HttpResponse:
    """A record of one's own: to judge while it is open, else to revise or undo what was said."""
    record = the_record(request, record_id)
    claim = get_object_or_404(SampleClaim, record=record, reviewer=_person(request))
    if claim.state in (ClaimState.SKIPPED, ClaimState.RELEASED):
        return redirect("certificate_work", record.certification_id)
    return _show(request, record.certification, claim)


@judging
@require_POST
def certificate_judge(request: HttpRequest, record_id: int) -> HttpResponse:
    """Saved: the next record. Not valid: 422. Changed in another window, or lost: 409, with what was sent."""
    record, person, said = the_record(request, record_id), _person(request), request.POST
    version = said.get("version", "")
    try:
        judge_record(
            record=record,
            reviewer=person,
            token=said.get("token", ""),
            said=RecordSaid(
                wrong=WRONG.get(said.get("label", "")),
                faults=said.getlist("reasons"),
                comment=said.get("comment", ""),
                active_ms=min(number(said.get("active_ms", "")), LONGEST_SITTING_MS),
            ),
            idempotency_key=said.get("idempotency_key", ""),
            expected_version=number(version) if version else None,
        )
    except RecordChangedError as error:
        return _show(request, record.certification, error.claim, status=409, problem=str(error), theirs=error.current)
    except ItemLost as error:
        return _lost(request, record.certification, str(error))
    except NotAdmitted as error:
        return _lost(request, record.certification, str(error), status=403)
    except CertificateRefusedError as error:
        claim = SampleClaim.objects.filter(record=record, reviewer=person).first()
        if claim is None or not the_study(request, record.certification_id).is_open:
            return _lost(request, record.certification, str(error), status=422)
        return _show(request, record.certification, claim, status=422, problem=str(error))
    return _go_on(request, record.certification)


@judging
@require_POST
def certificate_undo(request: HttpRequest, study_id: int) -> HttpResponse:
    """Takes back the person's latest judgment; the same request again takes back nothing further."""
    study, person, key = the_study(request, study_id), _person(request), request.POST.get("idempotency_key", "")
    judged = SampleClaim.objects.filter(record__certification=study, reviewer=person, state=ClaimState.JUDGED)
    try:
        asked = parse_key(key)
        saved = SampleJudgment.objects.filter(idempotency_key=asked, reviewer=person).first() if asked else None
        claim = saved.claim if saved else judged.order_by("-finished_at").first()
        if claim is None:
            raise CertificateRefusedError("You have judged nothing here that could be undone.")
        record = the_record(request, claim.record_id)
        undo_record(record=record, reviewer=person, idempotency_key=key)
    except (CertificateRefusedError, ItemLost, NotAdmitted) as error:
        return _lost(request, study, str(error))
    except OverrideError as error:
        return _lost(request, study, str(error), status=422)
    return redirect("certificate_record", record.pk)


@judging
@require_POST
def certificate_skip(request: HttpRequest, record_id: int) -> HttpResponse:
    record = the_record(request, record_id)
    try:
        skip_record(record=record, reviewer=_person(request), reason=request.POST.get("reason", ""))
    except (CertificateRefusedError, ItemLost, NotAdmitted) as error:
        return _lost(request, record.certification, str(error))
    return _go_on(request, record.certification)


@judging
@require_POST
def certificate_alive(request: HttpRequest, study_id: int) -> HttpResponse:
    """Sent once a minute by a page that someone looks at."""
    return JsonResponse({"held": heartbeat(study=the_study(request, study_id), reviewer=_person(request))})


def _show(
    request: HttpRequest,
    study: Certification,
    claim: SampleClaim | None,
    *,
    status: int = 200,
    problem: str = "",
    theirs: SampleJudgment | None = None,
) -> HttpResponse:
    """`problem`: why what was sent was not saved; it stands in the form again, and beside what stands (`theirs`)."""
    person, inside = _person(request), "exports/certificate/_record.html"
    context: dict[str, Any] = {"study": study, "problem": problem}
    if claim is None:
        inside, context["why"] = "exports/certificate/_nothing.html", str(why_none(study, person).words)
    else:
        try:
            context |= _record_context(claim, request.POST if problem else None)
        except RecordLostError as error:
            return _lost(request, study, str(error))
        context["mine_done"] = SampleClaim.objects.filter(
            record__certification=study, reviewer=person, state=ClaimState.JUDGED
        ).count()
        if theirs is not None:
            context["sides"] = [("What stands", _said_before(theirs)), ("What you sent", _said_in(request.POST))]
    if _fragment(request):
        return render(request, inside, context, status=status)
    context |= {"inside": inside, "settings": settings_of(person)}
    return render(request, "exports/certificate/judge.html", context, status=status)


def _record_context(claim: SampleClaim, sent: QueryDict | None) -> dict[str, Any]:
    """The record as it leaves. `sent`: what could not be saved; it stands in the form instead of what was said before."""
    record = _rows().get(pk=claim.record_id)
    question, shown = record.held.question, read_record(record)
    mine = claim.judgments.filter(current=True, wrong__isnull=False).first()
    return {
        "record": record,
        "claim": claim,
        "mine": mine,
        "shown": shown,
        **_question_context(question),
        "fresh_key": uuid4(),
        "undo_key": uuid4(),
        "reasons": [(code, word, KEYS[code]) for code, word in Fault.choices],
        "skips": SkipReason.choices,
        **(_said_in(sent) if sent is not None else _said_before(mine)),
    }


def _question_context(question: Question) -> dict[str, Any]:
    stem = split_stem(question.stem)
    return {
        "question": question,
        "stem": stem,
        "blocks": read_blocks(stem.paragraphs),
        "contexts": [(part.get("label", ""), with_values(part["text"])) for part in question.contexts],
        "search": literature(question, stem),
        "ranges": NORMAL_RANGES,
    }


def _said_in(sent: QueryDict) -> dict[str, Any]:
    reasons = [code for code in sent.getlist("reasons") if code in Fault.values]
    return _said(sent.get("label", ""), reasons, sent.get("comment", ""))


def _said_before(mine: SampleJudgment | None) -> dict[str, Any]:
    if mine is None:
        return _said("", [], "")
    return _said("error" if mine.wrong else "correct", mine.faults, mine.comment)


def _said(label: str, reasons: list[str], comment: str) -> dict[str, Any]:
    words = ", ".join(str(Fault(code).label).lower() for code in reasons)
    return {"label": label, "chosen_reasons": reasons, "comment": comment, "reasons_said": words}


def _go_on(request: HttpRequest, study: Certification) -> HttpResponse:
    if not _fragment(request):
        return redirect("certificate_work", study.pk)
    return _show(request, study, claim_next(study=study, reviewer=_person(request)))


def _lost(request: HttpRequest, study: Certification, why: str, *, status: int = 409) -> HttpResponse:
    """What cannot be done, with what the person wrote, so that nothing of it is gone."""
    inside = "exports/certificate/_nothing.html"
    context = {"study": study, "why": why, "refused": True, "said": request.POST.get("comment", "")}
    if _fragment(request):
        return render(request, inside, context, status=status)
    context |= {"inside": inside, "settings": settings_of(_person(request))}
    return render(request, "exports/certificate/judge.html", context, status=status)


def the_record(request: HttpRequest, record_id: int) -> SampleRecord:
    """Of the person's project, or 404."""
    found = _rows().filter(
        pk=min(record_id, 2**63 - 1), certification__snapshot__in=snapshots_of(project_of(request)).order_by()
    )
    record: SampleRecord = get_object_or_404(found)
    return record


def _rows() -> Any:
    related = (
        "certification__snapshot__run__project",
        "held__question__benchmark",
        "held__path",
        "held__response",
        "planted",
    )
    return SampleRecord.objects.select_related(*related).defer(
        "held__question__search", "held__path__raw", "planted__raw"
    )


def _fragment(request: HttpRequest) -> bool:
    return bool(request.headers.get("X-Fragment"))


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
