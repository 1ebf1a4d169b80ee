"""Who may do what: four roles, one project at a time. Every view and API route names the roles it lets in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    cached: frozenset[str] | None = getattr(user, "_roles", None)
    if cached is None:
        cached = remember_roles(user, user.groups.values_list("name", flat=True))
    return cached


def remember_roles(user: User, groups: Iterable[str]) -> frozenset[str]:
    """The roles of someone in these groups, kept on the user object."""
    named = frozenset(ROLES if user.is_superuser else groups)
    roles = named.union(*(IMPLIED.get(role, ()) for role in named))
    user._roles = roles  # type: ignore[attr-defined]
    return roles


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


_PROJECT = """
SELECT p.* FROM questions_project p WHERE p.slug = %(slug)s
  AND (%(all)s OR EXISTS (SELECT 1 FROM questions_project_members m WHERE m.project_id = p.id AND m.user_id = %(user)s))"""


def project_of(request: HttpRequest) -> Project:
    """The project the person works in. A project one is no member of is 404, as if it were not there."""
    user = request.user
    everything = not isinstance(user, User) or user.is_superuser
    asked = {"slug": DEFAULT_PROJECT, "all": everything, "user": user.pk}
    project = next(iter(Project.objects.raw(_PROJECT, asked)), None)
    if project is None:
        raise Http404("No such project.")
    return project


def default_project() -> Project:
    return Project.objects.get(slug=DEFAULT_PROJECT)
