"""What was imported, as a whole: composition, conflicting keys, and what stands on both sides of the held-out line."""

from __future__ import annotations

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.questions.access import CONSUMER, project_of, role_required
from apps.questions.models import ImportBatch
from apps.questions.selectors import Composition, contamination, key_conflicts
from apps.questions.selectors import composition as read_composition

PAGE = 25


@role_required(CONSUMER)
@require_safe
def composition(request: HttpRequest) -> HttpResponse:
    project_of(request)
    batches = ImportBatch.objects.select_related("benchmark")[:20]
    return render(request, "questions/composition.html", {"composition": cached_composition(), "batches": batches})


def cached_composition() -> Composition:
    """Counted once for each import: the newest import's id is the key."""
    newest = ImportBatch.objects.values_list("pk", flat=True).first() or 0
    found: Composition | None = cache.get_or_set(f"composition:{newest}", read_composition, timeout=60)
    return found or read_composition()


@role_required(CONSUMER)
@require_safe
def conflicts(request: HttpRequest) -> HttpResponse:
    """`after` is the fingerprint that ended the page before."""
    project_of(request)
    after = request.GET.get("after", "").replace("\x00", "")[:32]
    found = key_conflicts(after=after, limit=PAGE + 1)
    more = found[PAGE - 1].fingerprint if len(found) > PAGE else ""
    return render(request, "questions/conflicts.html", {"conflicts": found[:PAGE], "more": more, "after": after})


@role_required(CONSUMER)
@require_safe
def held_out(request: HttpRequest) -> HttpResponse:
    """Held-out questions that stand among the trainable ones too; `stem=1` for those that share only the stem."""
    project_of(request)
    raw = request.GET.get("after", "")
    after = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else 0
    same_stem = request.GET.get("stem") == "1"
    found = contamination(same_stem=same_stem, after=after, limit=PAGE + 1)
    more = found[PAGE - 1].held_out.pk if len(found) > PAGE else None
    context = {"found": found[:PAGE], "more": more, "same_stem": same_stem, "after": after}
    return render(request, "questions/held_out.html", context)
