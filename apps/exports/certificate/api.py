"""API: certificates. Plan one, judge its records, follow it, end it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Literal
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Schema, Status

from apps.exports.certificate.claims import claim_next, heartbeat, release_records, skip_record, why_none
from apps.exports.certificate.closing import give_up, request_certificate
from apps.exports.certificate.errors import CertificateRefusedError, RecordChangedError
from apps.exports.certificate.frozen import RecordLostError, read_record
from apps.exports.certificate.judging import RecordJudged, RecordSaid, judge_record, undo_record
from apps.exports.certificate.judging_views import the_record
from apps.exports.certificate.opening import forecast_certification, open_certification
from apps.exports.certificate.plan import CertificatePlanError, parse_certificate_plan
from apps.exports.certificate.standing import standing_of
from apps.exports.certificate.views import study_of, the_study
from apps.exports.models import Snapshot
from apps.exports.models_certificate import Certification, Fault, SampleClaim
from apps.exports.selectors import snapshots_of
from apps.questions.access import CURATOR, has_role, project_of
from apps.questions.api_access import Problem, curating, judging, reading, signed_in
from apps.review.models import SkipReason
from apps.review.queues.errors import ItemLost, NotAdmitted

router = Router(tags=["certificates"], auth=reading)
FAULTS = ", ".join(Fault.values)


class PlanIn(Schema):
    plan: dict[str, Any] = Field(
        description="kind (acceptance, sequential, stratified), rate, accept, confidence, good, alpha, beta, by, overlap, "
        "rule, misses, missed, known, source; shares from 0 to 1: docs/certificate.md"
    )
    role: str = Field("clinician", description="Who judges; empty: the reviewers alone")
    reviewers: list[str] = Field([], description="User names, besides the role")


class StratumOut(Schema):
    name: str
    records: int
    drawn: int


class ForecastOut(Schema):
    plan: dict[str, Any]
    size: int
    judgments: int
    people: int
    strata: list[StratumOut]


class StandingOut(Schema):
    """Of a study that is open, for curators alone."""

    judged: int
    faults: int
    decided: bool
    bound: float = Field(description="Upper limit of what was judged; valid at the planned end alone")
    holds: bool
    sentence: str


class StudyOut(Schema):
    id: int
    export: UUID
    state: str = Field(description="open, signing, published, ended or withdrawn")
    plan: dict[str, Any]
    seed: str
    root: str
    records: int
    size: int
    strata: list[StratumOut]
    certificate: dict[str, Any] | None = Field(description="What certificate.json says, once judging is over")
    standing: StandingOut | None
    error: str
    created_at: datetime
    closed_at: datetime | None


class CloseIn(Schema):
    do: Literal["publish", "give_up"]


class RecordOut(Schema):
    """As it leaves; `reasoning` or `response` is empty where no set of the export holds it."""

    record: int
    position: int = Field(description="1-based, in the order drawn")
    token: UUID
    version: int
    question: str
    reasoning: str
    response: str
    expires_at: datetime


class NextOut(Schema):
    record: RecordOut | None
    why: str = Field(description="Why there is none")


class JudgeRecordIn(Schema):
    token: UUID
    wrong: bool
    faults: list[str] = Field([], description=FAULTS)
    comment: str = Field("", max_length=20_000)
    active_ms: int = Field(0, ge=0)
    idempotency_key: UUID = Field(description="The same request sent again is saved once")
    expected_version: int | None = Field(None, description="`version` as you saw it; 409 if it changed")


class UndoRecordIn(Schema):
    idempotency_key: UUID
    expected_version: int | None = None


class SkipRecordIn(Schema):
    reason: SkipReason


class JudgedOut(Schema):
    version: int
    wrong: bool | None = Field(description="None once it was taken back")
    faults: list[str]
    comment: str
    replayed: bool = Field(description="This request had been saved before; nothing was written")


class ReleasedOut(Schema):
    released: int


class HeldOut(Schema):
    held: int


class Changed(Problem):
    version: int = Field(0, description="Your claim's version now")


REFUSED: dict[Any, Any] = {403: Problem, 404: Problem, 409: Changed, 422: Problem}


def answered(view: Callable[..., Any]) -> Callable[..., Any]:
    """What the services refuse, as 403, 409 and 422 in words."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except NotAdmitted as error:
            return Status(403, {"detail": str(error), "field": ""})
        except (ItemLost, RecordLostError) as error:
            return Status(409, {"detail": str(error), "field": "token", "version": 0})
        except RecordChangedError as error:
            changed = {"detail": str(error), "field": "expected_version", "version": error.claim.version}
            return Status(409, changed)
        except CertificatePlanError as error:
            return Status(422, {"detail": str(error), "field": f"plan.{error.field}".rstrip(".")})
        except CertificateRefusedError as error:
            return Status(422, {"detail": str(error), "field": error.field})

    # types as they are: the wrapper's module does not know the view's names
    guarded.__signature__ = inspect.signature(view, eval_str=True)  # type: ignore[attr-defined]
    return guarded


@router.post(
    "/exports/{export_id}/certificate-preview",
    auth=curating,
    response={200: ForecastOut, **REFUSED},
    summary="What a certificate would take",
)
@answered
def preview(request: HttpRequest, export_id: UUID, body: PlanIn) -> Any:
    """Draws nothing."""
    snapshot = _snapshot(request, export_id)
    plan, people = parse_certificate_plan(body.plan), _people(request, body)
    found = forecast_certification(snapshot=snapshot, plan=plan, role=body.role, reviewers=people)
    return {
        "plan": found.plan.model_dump(mode="json"),
        "size": found.size,
        "judgments": found.judgments,
        "people": found.people,
        "strata": _strata(found.strata),
    }


@router.post(
    "/exports/{export_id}/certificate",
    auth=curating,
    response={201: StudyOut, **REFUSED},
    summary="Draw a sample of an export's records to be judged",
)
@answered
def post_study(request: HttpRequest, export_id: UUID, body: PlanIn) -> Any:
    """Neither plan nor seed can be changed afterwards, and the same records are not studied a second time."""
    snapshot = _snapshot(request, export_id)
    plan, people = parse_certificate_plan(body.plan), _people(request, body)
    made = open_certification(snapshot=snapshot, plan=plan, role=body.role, reviewers=people, by=signed_in(request))
    return Status(201, _study(request, made))


@router.get(
    "/exports/{export_id}/certificate", response={200: StudyOut, 404: Problem}, summary="An export's certificate"
)
def read_study(request: HttpRequest, export_id: UUID) -> Any:
    study = study_of(_snapshot(request, export_id))
    return _study(request, get_object_or_404(Certification, pk=study.pk if study else 0))


@router.post(
    "/certificates/{study_id}/close",
    auth=curating,
    response={200: StudyOut, **REFUSED},
    summary="End judging: publish the certificate, or give it up",
)
@answered
def close_study(request: HttpRequest, study_id: int, body: CloseIn) -> Any:
    """A worker signs and writes it; read it again until `state` is published."""
    do = {"publish": request_certificate, "give_up": give_up}[body.do]
    return _study(request, do(study=the_study(request, study_id), by=signed_in(request)))


@router.post(
    "/certificates/{study_id}/release",
    auth=curating,
    response={200: ReleasedOut, 404: Problem},
    summary="Give back what is on screens or was passed on",
)
def release(request: HttpRequest, study_id: int) -> dict[str, int]:
    return {"released": release_records(study=the_study(request, study_id))}


@router.post(
    "/certificates/{study_id}/claim",
    auth=judging,
    response={200: NextOut, **REFUSED},
    summary="The next record to judge",
)
@answered
def claim(request: HttpRequest, study_id: int) -> Any:
    """The one left open, else the earliest free one in the order drawn."""
    study, person = the_study(request, study_id), signed_in(request)
    found = claim_next(study=study, reviewer=person)
    if found is None:
        return {"record": None, "why": why_none(study, person).words}
    return {"record": _record(request, found), "why": ""}


@router.post(
    "/certificates/{study_id}/heartbeat",
    auth=judging,
    response={200: HeldOut, 404: Problem},
    summary="Keep your record",
)
def beat(request: HttpRequest, study_id: int) -> dict[str, int]:
    return {"held": heartbeat(study=the_study(request, study_id), reviewer=signed_in(request))}


@router.post(
    "/sample-records/{record_id}/judge", auth=judging, response={200: JudgedOut, **REFUSED}, summary="Judge a record"
)
@answered
def judge(request: HttpRequest, record_id: int, body: JudgeRecordIn) -> Any:
    said = RecordSaid(wrong=body.wrong, faults=body.faults, comment=body.comment, active_ms=body.active_ms)
    done = judge_record(
        record=the_record(request, record_id),
        reviewer=signed_in(request),
        token=body.token,
        said=said,
        idempotency_key=body.idempotency_key,
        expected_version=body.expected_version,
    )
    return _judged(done)


@router.post(
    "/sample-records/{record_id}/undo", auth=judging, response={200: JudgedOut, **REFUSED}, summary="Take it back"
)
@answered
def undo(request: HttpRequest, record_id: int, body: UndoRecordIn) -> Any:
    record, person = the_record(request, record_id), signed_in(request)
    return _judged(undo_record(record=record, reviewer=person, **body.model_dump()))


@router.post(
    "/sample-records/{record_id}/skip", auth=judging, response={200: HeldOut, **REFUSED}, summary="Pass a record on"
)
@answered
def skip(request: HttpRequest, record_id: int, body: SkipRecordIn) -> Any:
    skip_record(record=the_record(request, record_id), reviewer=signed_in(request), reason=body.reason)
    return {"held": 0}


def _snapshot(request: HttpRequest, export_id: UUID) -> Snapshot:
    return get_object_or_404(snapshots_of(project_of(request)), pk=export_id)


def _people(request: HttpRequest, body: PlanIn) -> list[User]:
    """Raises CertificateRefusedError for a name that is none of the project's."""
    named = list(User.objects.filter(username__in=body.reviewers, is_active=True, projects=project_of(request)))
    if unknown := sorted(set(body.reviewers) - {user.username for user in named}):
        raise CertificateRefusedError(f"Nobody of this project is called {unknown[0][:150]}.", field="reviewers")
    return named


def _study(request: HttpRequest, study: Certification) -> dict[str, Any]:
    standing = None
    if study.is_open and has_role(request.user, CURATOR):
        found = standing_of(study)
        standing = {
            "judged": found.judged,
            "faults": found.faults,
            "decided": found.decided,
            "bound": found.bound,
            "holds": found.claim.holds,
            "sentence": found.claim.sentence,
        }
    columns = ("id", "state", "plan", "seed", "root", "records", "size", "error", "created_at", "closed_at")
    return {
        **{name: getattr(study, name) for name in columns},
        "export": study.snapshot_id,
        "strata": _strata(study.strata),
        "certificate": study.document,
        "standing": standing,
    }


def _strata(strata: Any) -> list[dict[str, Any]]:
    return [{"name": name, "records": records, "drawn": drawn} for name, records, drawn in strata]


def _record(request: HttpRequest, claim: SampleClaim) -> dict[str, Any]:
    record = the_record(request, claim.record_id)
    shown = read_record(record)
    return {
        "record": record.pk,
        "position": record.position,
        "token": claim.token,
        "version": claim.version,
        "question": shown.question,
        "reasoning": shown.reasoning,
        "response": shown.response,
        "expires_at": claim.expires_at,
    }


def _judged(done: RecordJudged) -> dict[str, Any]:
    said = done.judgment
    columns = {name: getattr(said, name) for name in ("wrong", "faults", "comment")}
    return {"version": done.version, "replayed": done.replayed, **columns}
