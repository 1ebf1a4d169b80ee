"""`manage.py make_queue RUN --plan …`: a queue of a run's paths for people to judge."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from apps.pipeline.run_commands import find_run, refuse
from apps.questions.access import CLINICIAN, ROLES
from apps.review.queues.build import Gold, build_queue
from apps.review.queues.errors import QueueError
from apps.review.queues.plans import PlanError, parse_plan

LISTS = ("benchmarks", "tiers", "generators", "labels")


class Command(BaseCommand):
    help = "Make a queue of a run's paths. What is drawn follows the plan and its seed: the same again is the same."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run")
        parser.add_argument("--name", required=True)
        parser.add_argument(
            "--plan",
            default="random",
            help="random, stratified, contradictions, tier_flip, disagreement, paths; or a JSON object of a whole plan",
        )
        parser.add_argument("--size", type=int, help="paths, or questions where whole questions are drawn")
        parser.add_argument("--seed", type=int)
        parser.add_argument("--by", help="stratify by: benchmark, tier, generator, label; several with commas")
        parser.add_argument("--whole-questions", action="store_true", help="draw questions with all their paths")
        for name in LISTS:
            parser.add_argument(f"--{name}", help="only these; several with commas")
        parser.add_argument("--gold-share", type=float, help="share of settled paths mixed in")
        parser.add_argument("--gold", type=Path, help='JSON list of {"path": id, "label": "correct", "reason": "…"}')
        parser.add_argument("--overlap", type=int, default=1, help="people who judge each item")
        parser.add_argument("--open", action="store_true", help="not blind: the judge's verdict shows from the start")
        parser.add_argument("--measure", action="store_true", help="verdicts only measure; they move no tier")
        parser.add_argument("--feedback", action="store_true", help="gold items tell what was right after judging")
        parser.add_argument("--practice", action="store_true", help="everyone does all of --gold, never counted")
        parser.add_argument("--role", default=None, choices=ROLES, help="who may work in it (clinician)")
        parser.add_argument("--reviewers", default="", help="or people by user name, with commas")

    def handle(self, *args: Any, **options: Any) -> None:
        run = find_run(options["run"])
        try:
            reviewers = people(options["reviewers"])
            queue = build_queue(
                run=run,
                name=options["name"],
                plan=parse_plan(plan_of(options)),
                overlap=options["overlap"],
                blind=not options["open"],
                counts=not options["measure"],
                feedback=options["feedback"],
                practice=options["practice"],
                role=options["role"] or ("" if reviewers else CLINICIAN),
                reviewers=reviewers,
                gold=gold_of(options["gold"]),
            )
        except (PlanError, QueueError) as error:
            refuse(str(error))
        what = "practice" if queue.practice else "verdicts count" if queue.counts else "verdicts only measure"
        gold = queue.items.exclude(gold_label="").count()
        self.stdout.write(
            f"{queue.name}: {queue.size:,} items of {run.name}, {gold:,} of them gold; "
            f"{'blind' if queue.blind else 'open'}, {what}; for {queue.role or ', '.join(u.username for u in reviewers)}"
        )


def plan_of(options: dict[str, Any]) -> dict[str, Any]:
    """What was said on the command line, over the plan's JSON if there is one. Raises PlanError."""
    said = options["plan"].strip()
    plan: dict[str, Any] = {"kind": said}
    if said.startswith("{"):
        try:
            plan = json.loads(said)
        except ValueError as error:
            raise PlanError(f"--plan: not JSON: {error}") from error
    plan |= {name: options[name] for name in ("size", "seed", "gold_share") if options[name] is not None}
    if options["by"]:
        plan["by"] = listed(options["by"])
    if options["whole_questions"]:
        plan["whole_questions"] = True
    chosen = {name: listed(options[name]) for name in LISTS if options[name]}
    if chosen:
        plan["filter"] = {**plan.get("filter", {}), **chosen}
    return plan


def gold_of(path: Path | None) -> list[Gold]:
    """Raises PlanError naming the file and the row."""
    if path is None:
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: {error}") from error
    found = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        if not isinstance(row, dict) or not isinstance(row.get("path"), int):
            raise PlanError(f"{path}: row {number}: an object with a path's id and a label is wanted")
        found.append(Gold(row["path"], str(row.get("label", "")), str(row.get("reason", ""))))
    return found


def people(names: str) -> list[User]:
    wanted = listed(names)
    found = list(User.objects.filter(username__in=wanted, is_active=True))
    if missing := set(wanted) - {user.username for user in found}:
        raise QueueError(f"Nobody is named {', '.join(sorted(missing))}.")
    return found


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
