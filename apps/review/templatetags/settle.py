"""What waits for an adjudicator, in a line; who marked a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template

from apps.questions.access import ADJUDICATOR, has_role, project_of
from apps.review.settle.selectors import Side, waiting_for

register = template.Library()


@register.inclusion_tag("review/settle_waiting.html", takes_context=True)
def settle_waiting(context: template.Context) -> dict[str, Any]:
    """ "3 disagreements and 1 flag wait for you"; nothing for people who settle nothing."""
    request = context["request"]
    if not has_role(request.user, ADJUDICATOR):
        return {}
    return {"adjudicator": True, "waiting": waiting_for(project_of(request), request.user)}


@register.simple_tag
def marked_by(sides: Sequence[Side], number: int) -> list[str]:
    return [side.name for side in sides if number in side.sentences]
