"""`contamination_report RUN [--threshold 0.8] [--json] [--save]`: what a run shares with the evaluation sets, and holds twice."""

from __future__ import annotations

import json as json_text
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.contamination.scan import scan
from apps.exports.contamination.stored import result_of
from apps.exports.errors import ExportRefusedError
from apps.exports.inspections.services import make_now, order_inspection
from apps.questions.access import default_project
from apps.questions.models import Question
from apps.reasoning.models import Run

REFUSED = 2
Row = tuple[str, bool, float, int, int]  # scope, exact, similarity, left, right


class Command(BaseCommand):
    help = "Find exact and near-duplicates of a run's questions: in the evaluation sets, and within the run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", nargs="?", help="name of the run; left out: all trainable questions")
        parser.add_argument("--threshold", type=float, default=0.8, help="least similarity, 0.5 to 1 (default 0.8)")
        parser.add_argument("--json", action="store_true", help="print counts and pairs as one JSON object")
        parser.add_argument("--save", action="store_true", help="keep the result: the page of contamination shows it")

    def handle(self, *args: Any, run: str | None, threshold: float, json: bool, save: bool, **options: Any) -> None:
        project = default_project()
        found = Run.objects.select_related("project").filter(project=project, name=run).first() if run else None
        if run and found is None:
            raise CommandError(f"No run is named {run!r}.", returncode=REFUSED)
        try:
            if save:
                ordered = order_inspection(project=project, kind="contamination", run=found, threshold=threshold)
                kept = make_now(ordered)
                rows = kept.pairs.order_by("id").exclude(scope="itself")
                report = kept.result | {"pairs_found": _pairs(rows.values_list(*COLUMNS))}
            else:
                made = scan(project, found, threshold=threshold)
                pairs = ((p.scope, p.exact, p.similarity, p.left, p.right) for p in made.pairs)
                report = result_of(made) | {"pairs_found": _pairs(pairs)}
        except (ValueError, ExportRefusedError) as error:
            raise CommandError(f"{str(error).removesuffix('.').capitalize()}.", returncode=REFUSED) from error
        report = {"run": run, "threshold": threshold, **report}
        if json:
            self.stdout.write(json_text.dumps(report, ensure_ascii=False))
        else:
            self.report(run or "all trainable questions", report)

    def report(self, name: str, report: dict[str, Any]) -> None:
        sets, within = report["pairs"]["evaluation"], report["pairs"]["within"]
        self.stdout.write(
            f"{name}: {report['questions']:,} questions against {report['evaluation_questions']:,} of evaluation sets, "
            f"similarity from {report['threshold']:g}\n"
            f"{report['contaminated']:,} questions stand in an evaluation set: {report['themselves']:,} are of one themselves, "
            f"{sets['exact']:,} pairs exact, {sets['near']:,} near\n"
            f"among themselves: {within['exact']:,} pairs exact, {within['near']:,} near\n"
            f"compared with: {_compared(report)}"
        )
        if report["not_compared"]:
            self.stdout.write(
                f"NOT in the database, so nothing is known about them: {', '.join(report['not_compared'])}"
            )
        for pair in report["pairs_found"]:
            kind = "exact" if pair["exact"] else f"{pair['similarity']:.3f}"
            self.stdout.write(f"{pair['scope']:<10} {kind:<6} {pair['left']} {pair['right']}")


COLUMNS = ("scope", "exact", "similarity", "left_id", "right_id")


def _compared(report: dict[str, Any]) -> str:
    found = [
        f"{one['name']} ({one['imported']:,} of {one['published']:,})" for one in report["sets"] if one["imported"]
    ]
    other = report["other_evaluation"]
    return ", ".join([*found, *([f"{other:,} other evaluation questions"] if other else [])]) or "nothing"


def _pairs(rows: Iterable[Row]) -> list[dict[str, Any]]:
    rows = list(rows)
    uids = _uids(sorted({pk for *_, left, right in rows for pk in (left, right)}))
    return [
        {"scope": scope, "exact": exact, "similarity": round(similarity, 6), "left": uids[left], "right": uids[right]}
        for scope, exact, similarity, left, right in rows
    ]


def _uids(ids: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for at in range(0, len(ids), 5_000):
        found.update(Question.objects.filter(pk__in=ids[at : at + 5_000]).values_list("pk", "uid"))
    return found
