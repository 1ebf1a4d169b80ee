"""Links to the curator's pages, for pages that others see too."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth.models import AnonymousUser, User

from apps.questions.access import CURATOR, has_role
from apps.reasoning.models import Run

register = template.Library()


@register.inclusion_tag("review/curate_links.html")
def curator_links(user: User | AnonymousUser, run: Run | None = None) -> dict[str, Any]:
    """Nothing for those who are no curators. With a run: only the link that makes a queue of it."""
    return {"curator": has_role(user, CURATOR), "run": run}
