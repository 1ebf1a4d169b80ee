"""`contamination_report RUN [--threshold 0.8] [--json]`: what a run shares with the evaluation sets, and holds twice."""

from __future__ import annotations

import json as json_text
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.contamination.scan import Scan, scan_run
from apps.questions.access import default_project
from apps.questions.models import Question
from apps.reasoning.models import Run

REFUSED = 2


class Command(BaseCommand):
    help = "Find exact and near-duplicates of a run's questions: in the evaluation sets, and within the run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="name of the run")
        parser.add_argument("--threshold", type=float, default=0.8, help="least similarity, 0.5 to 1 (default 0.8)")
        parser.add_argument("--json", action="store_true", help="print counts and pairs as one JSON object")

    def handle(self, *args: Any, run: str, threshold: float, json: bool, **options: Any) -> None:
        found = Run.objects.filter(project=default_project(), name=run).first()
        if found is None:
            raise CommandError(f"No run is named {run!r}.", returncode=REFUSED)
        try:
            scan = scan_run(found, threshold=threshold)
        except ValueError as error:
            raise CommandError(f"{str(error).capitalize()}.", returncode=REFUSED) from error
        report = _as_json(run, scan)
        if json:
            self.stdout.write(json_text.dumps(report, ensure_ascii=False))
            return
        self.stdout.write(
            f"{run}: {scan.questions:,} questions against {scan.evaluation:,} of evaluation sets, similarity from {threshold:g}\n"
            f"{len(scan.contaminated):,} questions stand in an evaluation set: {len(scan.themselves):,} are of one themselves, "
            f"{scan.count('evaluation', exact=True):,} pairs exact, {scan.count('evaluation', exact=False):,} near\n"
            f"within the run: {scan.count('within', exact=True):,} pairs exact, {scan.count('within', exact=False):,} near"
        )
        self.stdout.write(f"compared with: {_compared(scan)}")
        if missing := [one.name for one in scan.sets if not one.imported]:
            self.stdout.write(f"NOT in the database, so nothing is known about them: {', '.join(missing)}")
        for pair in report["pairs"]:
            kind = "exact" if pair["exact"] else f"{pair['similarity']:.3f}"
            self.stdout.write(f"{pair['scope']:<10} {kind:<6} {pair['left']} {pair['right']}")


def _compared(scan: Scan) -> str:
    found = [f"{one.name} ({one.imported:,} of {one.published:,})" for one in scan.sets if one.imported]
    found += [f"{scan.other_evaluation:,} other evaluation questions"] if scan.other_evaluation else []
    return ", ".join(found) or "nothing"


def _as_json(run: str, scan: Scan) -> dict[str, Any]:
    uids = _uids(sorted({pk for pair in scan.pairs for pk in (pair.left, pair.right)}))
    return {
        "run": run,
        "threshold": scan.threshold,
        "questions": scan.questions,
        "evaluation_questions": scan.evaluation,
        "contaminated_questions": len(scan.contaminated),
        "themselves": len(scan.themselves),
        "sets": [one.as_json() for one in scan.sets],
        "not_compared": [one.name for one in scan.sets if not one.imported],
        "pairs": [
            {
                "scope": pair.scope,
                "exact": pair.exact,
                "similarity": round(pair.similarity, 6),
                "left": uids[pair.left],
                "right": uids[pair.right],
            }
            for pair in scan.pairs
        ],
    }


def _uids(ids: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for at in range(0, len(ids), 5_000):
        found.update(Question.objects.filter(pk__in=ids[at : at + 5_000]).values_list("pk", "uid"))
    return found
