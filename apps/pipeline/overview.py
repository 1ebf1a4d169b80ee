"""What the overview and the list of runs show, read from a run's counters; nothing here counts wide rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Sum
from django.utils import timezone

from apps.pipeline.failure_words import words_of
from apps.pipeline.models import Failure
from apps.pipeline.money import RunMoney, has_prices, money_of
from apps.questions.models import Benchmark
from apps.reasoning.layout import Layout, layout_of, uses_simulated_models
from apps.reasoning.models import Label, QuestionState, Run, RunCounter, RunState, Tier
from apps.reasoning.selectors import E8

TIERS = (Tier.EASY, Tier.MEDIUM, Tier.DIFFICULT)


@dataclass(frozen=True, slots=True)
class Stage:
    """`total` is what is known to be wanted so far; None where that depends on answers still to come."""

    name: str
    done: int
    total: int | None
    unit: str
    waiting: int = 0
    note: str = ""

    @property
    def live(self) -> bool:
        return self.waiting > 0


@dataclass(frozen=True, slots=True)
class Action:
    name: str
    word: str
    icon: str
    primary: bool = False


START = Action("start", "Start", "play", primary=True)
PAUSE = Action("pause", "Pause", "pause")
RESUME = Action("resume", "Resume", "play", primary=True)
CANCEL = Action("cancel", "Cancel", "cross")
ACTIONS = {
    RunState.READY: (START, CANCEL),
    RunState.RUNNING: (PAUSE, CANCEL),
    RunState.PAUSED: (RESUME, CANCEL),
}


@dataclass(frozen=True, slots=True)
class Bar:
    errors: int
    questions: int


@dataclass(frozen=True, slots=True)
class TierRows:
    tier: str
    questions: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    state: str
    reason: str
    questions: int


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    benchmark: Benchmark
    ready: int
    waiting: int
    excluded: int

    @property
    def not_excluded(self) -> int:
        return self.ready + self.waiting

    @property
    def total(self) -> int:
        return self.not_excluded + self.excluded


@dataclass(frozen=True, slots=True)
class FailureRow:
    error_class: str
    calls: int
    open: int

    @property
    def words(self) -> str:
        return words_of(self.error_class).word


@dataclass(frozen=True, slots=True)
class Overview:
    run: Run
    layout: Layout
    simulated: bool
    questions: int
    tiered: int
    labels: dict[str, int]
    contradictions: int
    overridden: int
    calls: int
    failed_calls: int
    money: RunMoney
    ready: int
    waiting: int
    excluded: int
    stages: tuple[Stage, ...]
    tiers: tuple[TierRows, ...]
    accounted: tuple[Waiting, ...]
    failures: tuple[FailureRow, ...]
    benchmarks: tuple[BenchmarkRow, ...]
    elapsed: float | None
    at: datetime

    @property
    def most(self) -> int:
        """The longest bar of the tier distribution."""
        return max((bar.questions for rows in self.tiers for bar in rows.bars), default=0)

    @property
    def labelled(self) -> int:
        return sum(self.labels.values())

    @property
    def adds_up(self) -> bool:
        return self.ready + self.waiting + self.excluded == self.questions

    @property
    def polls(self) -> bool:
        return self.run.state in (RunState.RUNNING, RunState.PAUSED, RunState.READY)

    @property
    def seconds_between_polls(self) -> int:
        return 2 if self.run.state == RunState.RUNNING else 10

    @property
    def calls_an_hour(self) -> int | None:
        """Mean since the start; a pause counts as time passed."""
        return round(3600 * self.calls / self.elapsed) if self.elapsed and self.calls else None

    @property
    def flow(self) -> list[list[Stage]]:
        """Columns of the picture; refining and regenerating are one fork."""
        named = {stage.name: stage for stage in self.stages}
        columns = (
            ("generate",),
            ("verify",),
            ("tier",),
            ("rank",),
            ("refine", "regenerate"),
            ("reverify",),
            ("summarise",),
        )
        return [[named[name] for name in column] for column in columns]

    @property
    def actions(self) -> tuple[Action, ...]:
        return () if self.run.config.get("imported") else ACTIONS.get(RunState(self.run.state), ())


Counters = dict[str, int]


def counters_of(runs: Iterable[Run]) -> dict[int, Counters]:
    """{run id: {key: value}}, the shards summed; one query for any number of runs."""
    found: dict[int, Counters] = defaultdict(lambda: defaultdict(int))
    rows = RunCounter.objects.filter(run__in=list(runs)).values_list("run_id", "key").annotate(total=Sum("value"))
    for run_id, key, total in rows:
        found[run_id][key] = total
    return found


def overview_of(run: Run) -> Overview:
    counters = counters_of([run])[run.pk]
    questions = counters["questions"]
    accounted = accounted_for(counters)
    by_state = {state: sum(w.questions for w in accounted if w.state == state) for state in QuestionState.values}
    layout = layout_of(run.config)
    tiers = tier_rows(counters, layout, run.config.get("cutoffs", {}))
    return Overview(
        run=run,
        layout=layout,
        simulated=uses_simulated_models(run.config),
        questions=questions,
        tiered=sum(rows.questions for rows in tiers),
        labels={label: counters[f"labels:{label}"] for label in Label.values},
        contradictions=counters["contradictions"],
        overridden=counters["overridden"],
        calls=counters["calls"],
        failed_calls=sum(value for key, value in counters.items() if key.startswith("failed:")),
        money=money_of(run, counters),
        ready=by_state[QuestionState.READY],
        waiting=by_state[QuestionState.WAITING],
        excluded=by_state[QuestionState.EXCLUDED],
        stages=stages_of(run, counters, layout),
        tiers=tiers,
        accounted=accounted,
        failures=failures_of(run, counters),
        benchmarks=benchmarks_of(counters),
        elapsed=seconds_at_work(run),
        at=timezone.now(),
    )


def accounted_for(counters: Counters) -> tuple[Waiting, ...]:
    """Every state and reason that holds a question: ready first, then waiting, then excluded."""
    order = {QuestionState.READY: 0, QuestionState.WAITING: 1, QuestionState.EXCLUDED: 2}
    rows = []
    for key, value in counters.items():
        kind, _, rest = key.partition(":")
        if kind == "state" and value:
            state, _, reason = rest.partition(":")
            rows.append(Waiting(state, reason, value))
    return tuple(sorted(rows, key=lambda w: (order[QuestionState(w.state)], -w.questions, w.reason)))


def tier_rows(counters: Counters, layout: Layout, cutoffs: dict[str, int]) -> tuple[TierRows, ...]:
    """Questions by error count under the tier the cut-offs give; a tier set by a person counts in its own total."""
    easy, medium = cutoffs.get("easy", 4), cutoffs.get("medium", 7)
    ranges = (range(easy + 1), range(easy + 1, medium + 1), range(medium + 1, layout.paths + 1))
    return tuple(
        TierRows(tier, counters[f"tier:{tier}"], tuple(Bar(n, counters[f"errors:{n}"]) for n in errors))
        for tier, errors in zip(TIERS, ranges, strict=True)
    )


def stages_of(run: Run, counters: Counters, layout: Layout) -> tuple[Stage, ...]:
    """Where what is wanted depends on labels still to come, only what is done and what waits is said."""
    questions = counters["questions"]
    wanted = questions * layout.paths
    made = wanted if run.paths_from_id else counters["paths:generated"] + counters["paths:imported"]
    judged = counters[f"labels:{Label.CORRECT}"] + counters[f"labels:{Label.ERROR}"]
    tiered = sum(counters[f"tier:{tier}"] for tier in TIERS)
    rewritten = counters["paths:refined"] + counters["paths:regenerated"]
    imported = bool(run.paths_from_id) or counters["paths:imported"] > 0
    origin = "imported, not generated" if imported else f"{layout.paths} a question"

    def stage(name: str, done: int, total: int | None, unit: str, note: str = "") -> Stage:
        return Stage(name, done, total, unit, counters[f"state:waiting:{name}"], note)

    return (
        stage("generate", made, wanted, "paths", origin),
        stage("verify", judged, wanted, "paths"),
        stage("tier", tiered, questions, "questions", "set as soon as missing verdicts cannot change it"),
        stage("rank", counters["stage:rank"], None, "scores", "easy and medium"),
        stage("refine", counters["paths:refined"], None, "paths", "medium"),
        stage("regenerate", counters["paths:regenerated"], None, "paths", "difficult"),
        stage("reverify", min(counters["stage:reverify"], rewritten), rewritten or None, "paths"),
        stage("summarise", counters["stage:summarise"], None, "responses", "answer checked against the key"),
    )


def failures_of(run: Run, counters: Counters) -> tuple[FailureRow, ...]:
    """Failed calls by class, and the outputs still set aside for a person."""
    calls = {key.partition(":")[2]: value for key, value in counters.items() if key.startswith("failed:") and value}
    open_rows = (
        Failure.objects.filter(run=run, resolved_at__isnull=True).values_list("error_class").annotate(n=Count("id"))
    )
    still_open = dict(open_rows)
    names = sorted(calls.keys() | still_open.keys(), key=lambda name: (-calls.get(name, 0), name))
    return tuple(FailureRow(name, calls.get(name, 0), still_open.get(name, 0)) for name in names)


def benchmarks_of(counters: Counters) -> tuple[BenchmarkRow, ...]:
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for key, value in counters.items():
        parts = key.split(":")
        if parts[0] == "benchmark":
            found[int(parts[1])][parts[2]] = value
    names = Benchmark.objects.in_bulk(list(found))
    rows = (BenchmarkRow(names[pk], n["ready"], n["waiting"], n["excluded"]) for pk, n in found.items())
    return tuple(sorted((row for row in rows if row.total), key=lambda row: -row.total))


def seconds_at_work(run: Run) -> float | None:
    if run.started_at is None:
        return None
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class RunRow:
    run: Run
    questions: int
    ready: int
    calls: int
    spent: Decimal | None  # None: no price is set
    currency: str
    simulated: bool

    @property
    def paths(self) -> str:
        """Where its first paths come from."""
        return f"from {self.run.paths_from}" if self.run.paths_from else "its own"


def run_rows(runs: Iterable[Run]) -> list[RunRow]:
    listed = list(runs)
    counters = counters_of(listed)
    return [
        RunRow(
            run,
            counters[run.pk]["questions"],
            counters[run.pk]["state:ready:"],
            counters[run.pk]["calls"],
            counters[run.pk]["cost_e8"] * E8 if has_prices(run.config) else None,
            run.config.get("currency", "USD"),
            uses_simulated_models(run.config),
        )
        for run in listed
    ]
