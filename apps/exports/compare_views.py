"""Two snapshots side by side: how many records differ and why, and which."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.exports.comparing import KINDS, WHY_WORDS, WHYS, comparable, differences, summarise
from apps.exports.models import ExportState, Snapshot
from apps.exports.selectors import snapshot_called, snapshots_of
from apps.questions.access import CONSUMER, project_of, role_required

TO_CHOOSE = 200  # newest ones offered; any other can be named in the address


@role_required(CONSUMER)
@require_safe
def export_compare(request: HttpRequest) -> HttpResponse:
    """`a` and `b` in the address name the earlier and the later one; without them, the two newest of one run."""
    project = project_of(request)
    offered = snapshots_of(project).filter(state=ExportState.DONE).defer("manifest")
    choices = list(offered[:TO_CHOOSE])
    b = snapshot_called(project, request.GET["b"]) if request.GET.get("b") else next(iter(choices), None)
    a = snapshot_called(project, request.GET["a"]) if request.GET.get("a") else _before(choices, b)
    context: dict[str, Any] = {"choices": choices, "a": a, "b": b, "why_words": WHY_WORDS}
    if a and b and not (problem := comparable(a, b)):
        kind = request.GET.get("kind", "") if request.GET.get("kind") in KINDS else ""
        why = request.GET.get("why", "") if request.GET.get("why") in WHYS else ""
        page = differences(a, b, kind=kind, why=why, cursor=request.GET.get("after", ""))
        here = {"a": str(a), "b": str(b)}
        chosen = here | {key: value for key, value in (("kind", kind), ("why", why)) if value}
        context |= {"summary": summarise(a, b), "page": page, "kind": kind, "why": why, "base": urlencode(here)}
        context["next"] = urlencode(chosen | {"after": page.after}) if page.after else ""
        context["first"] = urlencode(chosen) if request.GET.get("after") else ""
    elif a and b:
        context["problem"] = problem
    return render(request, "exports/compare.html", context)


def _before(choices: list[Snapshot], b: Snapshot | None) -> Snapshot | None:
    """The one made before `b`, of its run where there is one."""
    if b is None:
        return None
    older = [s for s in choices if s.created_at < b.created_at]
    return next((s for s in older if s.run_id == b.run_id), older[0] if older else None)
