"""The API under /api/v1/: the rooms' routers under one roof, errors as JSON, its own page of documentation."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path, re_path
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from apps.exports.api import router as exports
from apps.exports.certificate.api import router as certificates
from apps.exports.inspections.api import router as inspections
from apps.pipeline.api import router as pipeline
from apps.pipeline.money_api import router as money
from apps.questions.access import CONSUMER, role_required
from apps.questions.api import router as questions
from apps.questions.api_access import reading
from apps.reasoning.api import router as reasoning
from apps.review.agreement_api import router as agreement
from apps.review.alike_api import router as alike
from apps.review.api import router as review
from apps.review.comments_api import router as comments
from apps.review.queue_making_api import router as queues
from apps.review.records_api import router as records

api = NinjaAPI(
    title="ReasonMed Workbench",
    version="1",
    description="The same services as the pages. Sign in on the pages: the session cookie is the key, and what writes "
    "wants the `csrftoken` cookie's value in `X-CSRFToken` as well.",
    auth=[reading],
    urls_namespace="api-1",
    docs_decorator=role_required(CONSUMER),
)
REVIEW = (review, records, alike, comments, queues, agreement)
for router in (questions, reasoning, pipeline, *REVIEW, exports, inspections, certificates, money):
    api.add_router("", router)


@api.exception_handler(Http404)
def not_there(request: HttpRequest, error: Http404) -> HttpResponse:
    said = str(error)
    return _problem(request, 404, "Not found." if not said or "matches the given query" in said else said)


@api.exception_handler(HttpError)
def refused(request: HttpRequest, error: HttpError) -> HttpResponse:
    said = str(error)
    if error.status_code == 401:
        said = "Sign in on the pages first; the session cookie is the key."
    return _problem(request, error.status_code, said)


@api.exception_handler(ValidationError)
def not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """The first problem in words; `field` names the place in the request."""
    first = error.errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return _problem(request, 422, f"{place or 'request'}: {first['msg']}", place)


def no_such_route(request: HttpRequest, rest: str = "") -> HttpResponse:
    return JsonResponse({"detail": "The API has no such address; see /api/v1/docs.", "field": ""}, status=404)


def _problem(request: HttpRequest, status: int, detail: str, field: str = "") -> HttpResponse:
    body: dict[str, Any] = {"detail": detail, "field": field}
    return api.create_response(request, body, status=status)


urlpatterns = [path("v1/", api.urls), re_path(r"^(?P<rest>.*)$", no_such_route)]
