"""Runs: made, started, paused; and the tasks that say what is to be done next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import MD5, Concat
from django.utils import timezone

from apps.pipeline.budget import set_budget
from apps.pipeline.config import ConfigError, RunConfig
from apps.pipeline.lanes import lane_of, lanes_of
from apps.pipeline.models import Endpoint, PromptVersion, RunBudget
from apps.pipeline.prompts import load_prompts
from apps.questions.models import Project, Question
from apps.reasoning.facts import policy_of
from apps.reasoning.models import Run, RunQuestion, RunState
from apps.reasoning.policy.assess import Assessment, assess
from apps.reasoning.policy.facts import QuestionFacts
from apps.reasoning.rows import json_rows
from apps.reasoning.services import COLUMNS, add_counters, assess_questions, counts_of, row_of

CHUNK = 2_000


class RunError(ValueError):
    """A run that cannot be made or moved; the message says why and what to do."""


@transaction.atomic
def create_run(
    *,
    project: Project,
    name: str,
    config: RunConfig,
    created_by: User | None = None,
    paths_from: Run | None = None,
    allow_held_out: bool = False,
) -> Run:
    """Freeze the configuration with the prompts' hashes, take the questions in, and make the first tasks."""
    if Run.objects.filter(project=project, name=name).exists():
        raise RunError(f"There is a run named {name!r} already. Choose another name.")
    frozen = _freeze(config, paths_from)
    run = Run.objects.create(
        project=project,
        name=name,
        config=frozen.model_dump(mode="json"),
        config_hash=frozen.digest(),
        paths_from=paths_from,
        allow_held_out=allow_held_out,
        created_by=created_by,
    )
    RunBudget.objects.create(run=run)
    set_budget(run=run, hard=frozen.budget.hard, soft=frozen.budget.soft, by=created_by)
    for endpoint in frozen.endpoints:
        Endpoint.objects.update_or_create(
            project=project,
            name=endpoint.name,
            defaults={
                "model": endpoint.model,
                "base_url": endpoint.base_url,
                "terms": endpoint.terms,
                "simulated": endpoint.simulated,
            },
        )
    chosen = choose_questions(project=project, config=frozen, paths_from=paths_from, allow_held_out=allow_held_out)
    if not _take_in(run, pick_questions(chosen, frozen)):
        raise RunError("No question matches: import questions first, or widen the configuration's filter.")
    _first_tasks(run, frozen)
    return run


def choose_questions(
    *, project: Project, config: RunConfig, paths_from: Run | None = None, allow_held_out: bool = False
) -> QuerySet[Question]:
    """Questions a run would take, before its limit, in the order they were imported."""
    chosen = Question.objects.visible_to(project)
    wanted = config.questions
    if paths_from is not None:
        chosen = chosen.filter(in_runs__run=paths_from)
    else:
        if not allow_held_out:
            chosen = chosen.trainable()
        if not wanted.duplicates:
            chosen = chosen.canonical()
        if not wanted.flagged:
            chosen = chosen.unflagged()
    if wanted.benchmarks:
        chosen = chosen.filter(benchmark__slug__in=wanted.benchmarks)
    if wanted.splits:
        chosen = chosen.filter(split__in=wanted.splits)
    if wanted.subjects:
        chosen = chosen.filter(subject__in=wanted.subjects)
    result: QuerySet[Question] = chosen.order_by("id")
    return result


def pick_questions(chosen: QuerySet[Question], config: RunConfig) -> QuerySet[Question]:
    """Those of `choose_questions` that the run takes: its limit, then its sample. The draw depends on the seed and the
    questions' uids alone, so that it can be repeated on another database."""
    wanted = config.questions
    if wanted.sample is None:
        return chosen if wanted.limit is None else chosen[: wanted.limit]
    if wanted.limit is not None:
        chosen = Question.objects.filter(pk__in=chosen.values("pk")[: wanted.limit])
    lot = MD5(Concat(Value(f"{config.seed}:"), "uid"))
    return chosen.order_by(lot, "id")[: wanted.sample]


def _freeze(config: RunConfig, paths_from: Run | None) -> RunConfig:
    """The configuration with prompt hashes; a run on another's paths has that run's generators."""
    prompts = load_prompts()
    for prompt in prompts.values():
        PromptVersion.objects.get_or_create(sha256=prompt.sha256, defaults={"name": prompt.name, "text": prompt.text})
    data = config.model_dump(mode="json")
    data["prompts"] = {name: prompt.sha256 for name, prompt in prompts.items()}
    if paths_from is not None:
        if paths_from.paths_from_id:
            raise RunError(f"{paths_from.name!r} judges the paths of another run itself; name that one.")
        known = {e["name"] for e in data["endpoints"]}
        data["endpoints"] += [e for e in paths_from.config["endpoints"] if e["name"] not in known]
        data["generators"] = paths_from.config["generators"]
        data["paths_from"] = paths_from.name
    try:
        return RunConfig.model_validate(data)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _take_in(run: Run, picked: QuerySet[Question]) -> int:
    """Enter the questions as a question without any path is assessed; the few that differ follow in `_first_tasks`."""
    sql, params = picked.values("id", "benchmark_id").query.sql_with_params()
    fresh = dict(zip(COLUMNS, row_of(assess(QuestionFacts(id=0, key="A"), policy_of(run))), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO reasoning_runquestion (run_id, question_id, benchmark_id, {', '.join(fresh)}, hold, cost, version,"  # noqa: S608
            f" changed_at) SELECT %s, p.id, p.benchmark_id, {', '.join(['%s'] * len(fresh))}, false, 0, 0, now() FROM ({sql}) p",
            [run.pk, *fresh.values(), *params],
        )
        taken = int(cursor.rowcount)
        cursor.execute(
            "SELECT benchmark_id, count(*) FROM reasoning_runquestion WHERE run_id = %s GROUP BY 1", [run.pk]
        )
        change = Counter(questions=taken)
        for benchmark, number in cursor.fetchall():
            change.update({key: number * n for key, n in counts_of(list(fresh.values()), benchmark).items()})
    add_counters(run_id=run.pk, change=change)
    return taken


def _first_tasks(run: Run, config: RunConfig) -> None:
    if run.paths_from_id is None:
        lanes = [lane for lane in lanes_of(config) if lane.startswith("generate@")]
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO pipeline_task (run_id, lane, unit_type, unit_id, state, wanted, seen, attempts, last_error)"
                " SELECT %s, l, 'question', question_id, 'ready', 1, 0, 0, '' FROM reasoning_runquestion,"
                " unnest(%s::text[]) l WHERE run_id = %s ORDER BY question_id",
                [run.pk, lanes, run.pk],
            )
    last = 0
    rows = RunQuestion.objects.filter(run=run).order_by("question_id")
    if run.paths_from_id is None and not config.imported:  # all others are as `_take_in` entered them
        flagged = "SELECT question_id FROM review_questionflag WHERE project_id = %s AND state <> 'revoked'"
        rows = rows.filter(Q(question__held_out=True) | Q(question_id__in=RawSQL(flagged, [run.project_id])))  # noqa: S611
    while True:
        ids = list(rows.filter(question_id__gt=last).values_list("question_id", flat=True)[:CHUNK])
        if not ids:
            return
        found = assess_questions(run=run, question_ids=ids)
        if run.paths_from_id is not None:
            want_work(run=run, found=found)
        last = ids[-1]


def want_work(*, run: Run, found: Mapping[int, Assessment], stages: Sequence[str] | None = None) -> None:
    """Raise `wanted` of the tasks behind the items of these assessments (of `stages` alone, where given).

    A finished run with work runs again. Runs of imported paths never call a model.
    """
    config = RunConfig.model_validate(run.config)
    if config.imported:
        return
    wanted = sorted(
        {
            (lane_of(config, item), question)
            for question, assessment in found.items()
            for item in assessment.items
            if stages is None or item.stage in stages
        }
    )
    if not wanted:
        return
    if stages is None:
        Run.objects.filter(pk=run.pk, state=RunState.FINISHED).update(state=RunState.RUNNING, finished_at=None)
    raise_tasks(run_id=run.pk, wanted=wanted)


def raise_tasks(*, run_id: int, wanted: Sequence[tuple[str, int]]) -> None:
    """(lane, question id) pairs, sorted: writers lock tasks in one order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO pipeline_task (run_id, lane, unit_type, unit_id, state, wanted, seen, attempts, last_error)
            SELECT %s, l, 'question', u, 'ready', 1, 0, 0, '' FROM json_to_recordset(%s::json) AS n(l text, u bigint)
            ON CONFLICT (run_id, lane, unit_type, unit_id) DO UPDATE SET wanted = pipeline_task.wanted + 1,
              state = CASE WHEN pipeline_task.state = 'idle' THEN 'ready' ELSE pipeline_task.state END""",
            [run_id, json_rows("lu", wanted)],
        )


def start_run(*, run: Run) -> None:
    _move(run, (RunState.READY, RunState.PAUSED, RunState.FINISHED, RunState.RUNNING), RunState.RUNNING, "started")
    Run.objects.filter(pk=run.pk, started_at__isnull=True).update(started_at=timezone.now())


def pause_run(*, run: Run) -> None:
    _move(run, (RunState.RUNNING, RunState.PAUSED), RunState.PAUSED, "paused")


def resume_run(*, run: Run) -> None:
    _move(run, (RunState.PAUSED, RunState.RUNNING), RunState.RUNNING, "resumed")


def cancel_run(*, run: Run) -> None:
    """Final: what was made stays readable, nothing more is made."""
    states = (RunState.READY, RunState.RUNNING, RunState.PAUSED, RunState.FINISHED, RunState.CANCELLED)
    _move(run, states, RunState.CANCELLED, "cancelled")


def _move(run: Run, allowed: tuple[RunState, ...], to: RunState, verb: str) -> None:
    if run.config.get("imported"):
        raise RunError(
            f"{run.name!r} holds imported paths and makes no calls. Make a run with --paths-from {run.name}."
        )
    if Run.objects.filter(pk=run.pk, state__in=allowed).update(state=to) != 1:
        run.refresh_from_db()
        raise RunError(f"{run.name!r} is {run.state} and cannot be {verb}.")
    run.refresh_from_db()


def settle_runs() -> None:
    """Running runs without work are finished; finished ones with work run again."""
    open_task = "EXISTS (SELECT 1 FROM pipeline_task t WHERE t.run_id = r.id AND t.state IN ('ready', 'leased'))"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE reasoning_run r SET state = 'finished', finished_at = now() WHERE state = 'running' AND NOT {open_task}"  # noqa: S608
        )
        cursor.execute(
            "UPDATE reasoning_run r SET state = 'running', finished_at = NULL"  # noqa: S608
            f" WHERE state = 'finished' AND NOT (config @> '{{\"imported\": true}}') AND {open_task}"
        )
