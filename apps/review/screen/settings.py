"""How a person likes the screen: kept on the server, so that it is the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from apps.questions.access import ADJUDICATOR, CLINICIAN, CURATOR, role_required
from apps.review.models import ReviewSettings, Units

FIELDS: dict[str, tuple[str, dict[str, Any]]] = {  # what a page sends: (the field, {word: value})
    "keys": ("single_keys", {"on": True, "off": False}),
    "units": ("units", {unit.value: unit.value for unit in Units}),
    "size": ("text_size", {size: size for size in "sml"}),
}


@dataclass(frozen=True, slots=True)
class Settings:
    single_keys: bool = True
    units: str = Units.CONVENTIONAL
    text_size: str = "m"


def settings_of(person: User) -> Settings:
    found = ReviewSettings.objects.filter(user=person).values_list("single_keys", "units", "text_size").first()
    return Settings(*found) if found else Settings()


@role_required(CLINICIAN, CURATOR, ADJUDICATOR)
@require_POST
def save_settings(request: HttpRequest) -> HttpResponse:
    """What is sent of `keys`, `units` and `size`; the rest stays. 422 for a word there is not, and nothing is saved."""
    changes = {}
    for name, (column, words) in FIELDS.items():
        if name not in request.POST:
            continue
        if request.POST[name] not in words:
            return HttpResponse(f"{name}: one of {', '.join(words)}", status=422, content_type="text/plain")
        changes[column] = words[request.POST[name]]
    if changes:
        assert isinstance(request.user, User)
        ReviewSettings.objects.update_or_create(user=request.user, defaults=changes)
    return HttpResponse(status=204) if request.headers.get("X-Fragment") else redirect(_back(request))


def _back(request: HttpRequest) -> str:
    """The page that sent it, if it is one of ours."""
    came_from = request.headers.get("Referer", "")
    ours = url_has_allowed_host_and_scheme(came_from, {request.get_host()}, require_https=request.is_secure())
    return came_from if ours else "review_home"
