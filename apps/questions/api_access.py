"""What every API route shares: who is let in, how lists are paged, how errors read."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import Schema
from ninja.errors import HttpError
from ninja.security import APIKeyCookie
from ninja.utils import check_csrf
from pydantic import Field

from apps.questions.access import CLINICIAN, CONSUMER, CURATOR, has_role

T = TypeVar("T")
M = TypeVar("M", bound=Model)
PAGE = 50
LARGEST_PAGE = 200
LARGEST_ID = 2**63 - 1


class RoleAuth(APIKeyCookie):
    """The session of someone who has one of the roles; writing asks for the CSRF token as well.

    Nobody signed in: 401. Without the role or the token: 403, with what is missing.
    """

    param_name = "sessionid"

    def __init__(self, *roles: str) -> None:
        super().__init__(csrf=True)
        self.roles = roles

    def __call__(self, request: HttpRequest) -> User | None:
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user = request.user
        if not isinstance(user, User):
            return None
        if not has_role(user, *self.roles):
            raise HttpError(403, f"This needs the role {' or '.join(self.roles)}.")
        if check_csrf(request):
            raise HttpError(403, "Send the value of the csrftoken cookie in the X-CSRFToken header.")
        return user


reading = RoleAuth(CONSUMER)  # every role implies it
judging = RoleAuth(CLINICIAN)
curating = RoleAuth(CURATOR)


class Problem(Schema):
    """Every answer from 400 up."""

    detail: str
    field: str = Field("", description="What of the request it is about, where that is known")


class Slice(Schema, Generic[T]):
    """One page of a list; send `next` as `after` for the page behind it."""

    items: list[T]
    next: str | None = Field(None, description="None on the last page")


PageSize = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Items a page")
After = Field(0, ge=0, le=LARGEST_ID, description="`next` of the page before")


def slice_by(rows: QuerySet[M], field: str, *, after: int, limit: int) -> dict[str, Any]:
    """The rows behind the id `after`, in its order: an index walk however far down the list one is."""
    found = list(rows.filter(**{f"{field}__gt": after}).order_by(field)[: limit + 1])
    shown = found[:limit]
    return {"items": shown, "next": str(getattr(shown[-1], field)) if len(found) > limit else None}


def signed_in(request: HttpRequest) -> User:
    """The person behind the request, once RoleAuth let it in."""
    assert isinstance(request.user, User)
    return request.user
