"""A scan as an inspection keeps it, and which questions it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import BigIntegerField, Count, F, Func, QuerySet, Sum

from apps.exports.contamination.scan import EVALUATION, Scan, Watch, scan, sources
from apps.exports.models_checks import Inspection, InspectionPair, PairScope
from apps.questions.models import Project, Question
from apps.reasoning.models import Run

CHUNK = 5_000
VERSION = 1  # of how questions are compared; a new one makes every kept scan stale


def examine(inspection: Inspection, watch: Watch) -> tuple[dict[str, Any], list[InspectionPair]]:
    """Result and pairs, not saved; the closest pairs of each scope come first."""
    inspection.basis = basis_of(inspection.project, inspection.run)
    assert inspection.threshold is not None
    found = scan(inspection.project, inspection.run, threshold=inspection.threshold, watch=watch)
    return result_of(found), list(_pairs(inspection, found))


def result_of(found: Scan) -> dict[str, Any]:
    """Counts, and of each of the nine sets how much of it there is and how many questions were `found` in it."""
    per_set = _by_set(found)
    return {
        "questions": found.questions,
        "evaluation_questions": found.evaluation,
        "contaminated": len(found.contaminated),
        "themselves": len(found.themselves),
        "pairs": {
            scope: {"exact": found.count(scope, exact=True), "near": found.count(scope, exact=False)}
            for scope in ("evaluation", "within")
        },
        "sets": [{**one.as_json(), "found": per_set[one.benchmark, one.split, one.subject]} for one in found.sets],
        "not_compared": [one.name for one in found.sets if not one.imported],
        "other_evaluation": found.other_evaluation,
    }


def _by_set(found: Scan) -> Counter[tuple[str, str, str]]:
    """Examined questions by the set (benchmark, split and, of MMLU, subject) they stand in or come close to."""
    links = {(p.left, p.right) for p in found.pairs if p.scope == "evaluation"} | {(pk, pk) for pk in found.themselves}
    places: dict[int, tuple[str, str, str]] = {}
    wanted = sorted({right for _, right in links})
    for at in range(0, len(wanted), CHUNK):
        rows = Question.objects.filter(pk__in=wanted[at : at + CHUNK])
        for pk, slug, split, subject in rows.values_list("pk", "benchmark__slug", "split", "subject"):
            places[pk] = slug, split, subject if slug == "mmlu" else ""
    return Counter(place for _, place in {(left, places[right]) for left, right in links})


def basis_of(project: Project, run: Run | None) -> str:
    """Changes when other questions are examined or compared with. A question's text never changes."""
    examined, evaluation = sources(project, run)
    parts = (*_digest(examined), *_digest(examined.filter(EVALUATION)), *_digest(evaluation))
    return ":".join(f"{part:x}" for part in (VERSION, *parts))


def _digest(questions: QuerySet[Question]) -> tuple[int, int]:
    """How many, and the sum of a hash of each id."""
    hashed = Func(F("pk"), function="hashint8", output_field=BigIntegerField())
    found = questions.order_by().aggregate(n=Count("pk"), sum=Sum(hashed, default=0))
    return found["n"], int(found["sum"]) & 0xFFFFFFFFFFFF


def _pairs(inspection: Inspection, found: Scan) -> Iterator[InspectionPair]:
    for pk in found.themselves:
        yield InspectionPair(
            inspection=inspection, scope=PairScope.ITSELF, left_id=pk, right_id=pk, exact=True, similarity=1
        )
    for pair in found.pairs:
        yield InspectionPair(
            inspection=inspection,
            scope=pair.scope,
            left_id=pair.left,
            right_id=pair.right,
            exact=pair.exact,
            similarity=pair.similarity,
        )
