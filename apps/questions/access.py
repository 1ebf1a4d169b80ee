"""Who may do what: four roles, one project at a time. Every view and API route names the roles it lets in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase

from apps.questions.models import Project

CURATOR = "curator"  # runs, imports, exports; may do everything a clinician may
CLINICIAN = "clinician"  # reads and judges
ADJUDICATOR = "adjudicator"  # a clinician who also settles what others disagree on, and questions they flagged
CONSUMER = "consumer"  # reads and downloads what was exported; every other role may too
ROLES = (CURATOR, ADJUDICATOR, CLINICIAN, CONSUMER)
IMPLIED = {CURATOR: {CLINICIAN, CONSUMER}, ADJUDICATOR: {CLINICIAN, CONSUMER}, CLINICIAN: {CONSUMER}}
DEFAULT_PROJECT = "default"


def roles_of(user: User | AbstractBaseUser | AnonymousUser) -> frozenset[str]:
    """The roles a signed-in person has; a superuser has all. Cached on the user object for the request."""
    if not isinstance(user, User) or not user.is_active:
        return frozenset()
    cached = getattr(user, "_roles", None)
    if cached is None:
        cached = frozenset(ROLES) if user.is_superuser else frozenset(user.groups.values_list("name", flat=True))
        cached = cached.union(*(IMPLIED.get(role, ()) for role in cached))
        user._roles = cached  # type: ignore[attr-defined]
    return frozenset(cached)


def has_role(user: User | AbstractBaseUser | AnonymousUser, *wanted: str) -> bool:
    return bool(roles_of(user) & set(wanted))


def role_required(*wanted: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """A view for people with one of these roles: others are asked to sign in, or get 403."""

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not has_role(request.user, *wanted):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.roles = wanted  # type: ignore[attr-defined]
        return guarded

    return decorate


def project_of(request: HttpRequest) -> Project:
    """The project the person works in. A project one is no member of is 404, as if it were not there."""
    user = request.user
    found = Project.objects.filter(slug=DEFAULT_PROJECT)
    if isinstance(user, User) and not user.is_superuser:
        found = found.filter(members=user)
    project = found.first()
    if project is None:
        raise Http404("No such project.")
    return project


def default_project() -> Project:
    return Project.objects.get(slug=DEFAULT_PROJECT)
