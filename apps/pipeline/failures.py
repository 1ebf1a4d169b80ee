"""What went wrong in a run, grouped by stage, endpoint and class: outputs set aside, and attempts that failed.

Groups are counted from covering partial indexes (`failure_group`, `call_failed`), never from the wide rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.db import connection
from django.db.models import Count, F, Func, Q, QuerySet, Value
from django.db.models.fields import CharField

from apps.pipeline.config import RunConfig
from apps.pipeline.failure_words import ClassWords, words_of
from apps.pipeline.lanes import STAGES, endpoint_name
from apps.pipeline.models import Call, Failure, PromptVersion
from apps.questions.models import Question
from apps.reasoning.models import Run
from apps.reasoning.selectors import run_counters

Kind = Literal["aside", "attempts"]
Key = int | uuid.UUID  # of a Failure, of a Call
PARAMS = ("temperature", "top_p", "max_tokens")
SAMPLES = 3  # shown with each group
PAGE = 20  # in a group
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """What a group has in common."""

    stage: str
    endpoint: str
    error_class: str

    @property
    def lane(self) -> str:
        return f"{self.stage}@{self.endpoint}"

    @property
    def words(self) -> ClassWords:
        return words_of(self.error_class)

    @property
    def params(self) -> dict[str, str]:
        """The group in an address."""
        return {"stage": self.stage, "endpoint": self.endpoint, "class": self.error_class}


@dataclass(slots=True)
class Sample:
    """A failed output or attempt as people look at it. All of its texts are a server's or a model's: hostile.

    `attempts`: calls made for the output so far. `call` is None where a failure has none.
    """

    question: Question
    stage: str
    item: str
    at: datetime
    message: str
    call: Call | None
    attempts: int = 0
    failure: int | None = None  # Failure.id of an output set aside
    prompt: PromptVersion | None = None

    @property
    def about(self) -> str:
        return item_words(self.item)

    @property
    def params(self) -> list[tuple[str, Any]]:
        """What was sent with the prompt, in the order one asks for it."""
        sent: dict[str, Any] = self.call.params if self.call else {}
        return sorted(
            sent.items(), key=lambda pair: (PARAMS.index(pair[0]) if pair[0] in PARAMS else len(PARAMS), pair[0])
        )

    @property
    def path(self) -> int | None:
        """The path the output is about, where it is about one."""
        kind, _, number = self.item.partition("/")[0].partition(":")
        return int(number) if kind == "path" and number.isdecimal() else None


@dataclass(slots=True)
class Group:
    place: Place
    count: int
    first_at: datetime
    last_at: datetime
    lane_calls: int | None = None  # calls of its lane so far; None where they were not counted by lane
    samples: list[Sample] = field(default_factory=list)

    @property
    def share(self) -> str:
        """Of its lane's calls, in per cent: a few among a million are not "0.0 %"."""
        if not self.lane_calls:
            return "–"
        share = 100 * self.count / self.lane_calls
        return f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"


def item_words(item: str) -> str:
    """`path:7/2` → "path 7, try 2"; `new:1/1` → "new path 1, try 1"; `qwen/2` → "qwen, sample 2"."""
    name, _, number = item.partition("/")
    kind, colon, about = name.partition(":")
    if colon:
        thing = {"path": "path", "new": "new path"}.get(kind, kind)
        return f"{thing} {about}, try {number}" if number else f"{thing} {about}"
    return f"{name}, sample {number}" if number else name


class Endpoints:
    """Which endpoint of a run made an output. A generator's name is the first part of its items."""

    def __init__(self, run: Run) -> None:
        self.config = RunConfig.model_validate(run.config)

    def name(self, stage: str, item: str) -> str:
        generator = item.partition("/")[0] if stage == "generate" else ""
        try:
            return endpoint_name(self.config, stage, generator)
        except (StopIteration, KeyError):  # an output of a stage or generator that the configuration does not name
            return ""

    def generators(self, endpoint: str) -> list[str]:
        return [g.name for g in self.config.generators if g.endpoint == endpoint]

    def stages(self, endpoint: str) -> list[str]:
        """The stages after the first that the endpoint does."""
        return [stage for stage in STAGES[1:] if self.name(stage, "") == endpoint]


GENERATOR = Func(F("item"), Value("/"), Value(1), function="split_part", output_field=CharField())


def open_failures(run: Run, *, stage: str = "", endpoint: str = "", error_class: str = "") -> QuerySet[Failure]:
    """Outputs set aside and not tried again yet; each argument narrows them down."""
    rows = Failure.objects.filter(run=run, resolved_at__isnull=True)
    if stage:
        rows = rows.filter(stage=stage)
    if error_class:
        rows = rows.filter(error_class=error_class)
    if endpoint:
        known = Endpoints(run)
        generated = Q(stage="generate", made_by__in=known.generators(endpoint))
        rows = rows.annotate(made_by=GENERATOR).filter(generated | Q(stage__in=known.stages(endpoint)))
    return rows


def failed_calls(run: Run, place: Place) -> QuerySet[Call]:
    """Newest last. The second condition is what lets the partial index serve."""
    rows = Call.objects.filter(run=run, stage=place.stage, endpoint=place.endpoint, error_class=place.error_class)
    return rows.exclude(error_class="")


def groups_aside(run: Run) -> list[Group]:
    """Open failures by stage, endpoint and class, in the order of the stages, the largest first in each."""
    known = Endpoints(run)
    found: dict[Place, Group] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stage, CASE WHEN stage = 'generate' THEN split_part(item, '/', 1) ELSE '' END, error_class, count(*),"
            " min(created_at), max(created_at) FROM pipeline_failure WHERE run_id = %s AND resolved_at IS NULL"
            " GROUP BY 1, 2, 3",
            [run.pk],
        )
        for stage, generator, error_class, count, first, last in cursor.fetchall():
            place = Place(stage, known.name(stage, generator), error_class)
            if (seen := found.get(place)) is None:
                found[place] = Group(place, count, first, last)
            else:
                seen.count += count
                seen.first_at, seen.last_at = min(seen.first_at, first), max(seen.last_at, last)
    return _in_order(found.values())


def groups_of_attempts(run: Run) -> list[Group]:
    """Failed attempts by stage, endpoint and class, with the number of all calls of their lane."""
    counters = run_counters(run)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stage, endpoint, error_class, count(*), min(created_at), max(created_at) FROM pipeline_call"
            " WHERE run_id = %s AND error_class <> '' GROUP BY 1, 2, 3",
            [run.pk],
        )
        groups = [Group(Place(*row[:3]), *row[3:]) for row in cursor.fetchall()]
    for group in groups:
        group.lane_calls = _calls_of_lane(counters, group.place)
    return _in_order(groups)


def _calls_of_lane(counters: dict[str, int], place: Place) -> int | None:
    """Only generating has several lanes; any other stage is one lane in a run."""
    counted = counters.get(f"calls:{place.lane}")
    if counted is None and place.stage != "generate":
        counted = counters.get(f"calls:{place.stage}")
    return counted


def _in_order(groups: Iterable[Group]) -> list[Group]:
    def place(group: Group) -> tuple[int, str, int, str]:
        stage = group.place.stage
        order = STAGES.index(stage) if stage in STAGES else len(STAGES)
        return (order, group.place.endpoint, -group.count, group.place.error_class)

    return sorted(groups, key=place)


def add_samples(run: Run, kind: Kind, groups: Sequence[Group], *, each: int = SAMPLES) -> None:
    """The latest few of each group, in a fixed number of queries."""
    ids = _latest_failures(run, groups, each) if kind == "aside" else _latest_calls(run, groups, each)
    found = iter(samples_of(run, kind, [pk for mine in ids for pk in mine]))
    for group, mine in zip(groups, ids, strict=True):
        group.samples = [next(found) for _ in mine]


def _latest_calls(run: Run, groups: Sequence[Group], each: int) -> list[list[Key]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.n, c.id FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS g(s, e, k, n)
            CROSS JOIN LATERAL (
              SELECT id, created_at FROM pipeline_call
              WHERE run_id = %s AND stage = g.s AND endpoint = g.e AND error_class = g.k AND error_class <> ''
              ORDER BY created_at DESC, id DESC LIMIT %s) c
            ORDER BY g.n, c.created_at DESC, c.id DESC""",
            [*_columns(groups), run.pk, each],
        )
        found: list[list[Key]] = [[] for _ in groups]
        for number, pk in cursor.fetchall():
            found[number - 1].append(pk)
    return found


def _latest_failures(run: Run, groups: Sequence[Group], each: int) -> list[list[Key]]:
    known = Endpoints(run)
    made_by = [
        known.generators(group.place.endpoint) if group.place.stage == "generate" else [] for group in groups
    ]  # a stage other than generating is one lane: nothing to tell apart
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.n, f.id FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS g(s, made_by, k, n)
            CROSS JOIN LATERAL (
              SELECT id FROM pipeline_failure
              WHERE run_id = %s AND stage = g.s AND error_class = g.k AND resolved_at IS NULL
                AND (g.s <> 'generate' OR split_part(item, '/', 1) = ANY(string_to_array(g.made_by, ',')))
              ORDER BY id DESC LIMIT %s) f
            ORDER BY g.n, f.id DESC""",
            [_columns(groups)[0], [",".join(names) for names in made_by], _columns(groups)[2], run.pk, each],
        )
        found: list[list[Key]] = [[] for _ in groups]
        for number, pk in cursor.fetchall():
            found[number - 1].append(pk)
    return found


def _columns(groups: Sequence[Group]) -> list[list[str]]:
    places = [group.place for group in groups]
    return [[p.stage for p in places], [p.endpoint for p in places], [p.error_class for p in places]]


def samples_of(run: Run, kind: Kind, ids: Sequence[Key]) -> list[Sample]:
    """In the order of `ids`: of failures (`aside`) or of calls."""
    if kind == "aside":
        failures = Failure.objects.select_related("call").in_bulk(list(ids))
        samples = [
            Sample(Question(), f.stage, f.item, f.created_at, f.message, f.call, failure=f.pk)
            for f in (failures[pk] for pk in ids)
        ]
        questions = [failures[pk].question_id for pk in ids]
    else:
        calls = Call.objects.in_bulk(list(ids))
        samples = [Sample(Question(), c.stage, c.item, c.created_at, c.error, c) for c in (calls[pk] for pk in ids)]
        questions = [calls[pk].question_id for pk in ids]
    _add_context(run, samples, questions)
    return samples


def _add_context(run: Run, samples: Sequence[Sample], question_ids: Sequence[int]) -> None:
    """Questions, prompts and the number of attempts, each in one query."""
    questions = Question.objects.only("uid", "stem").in_bulk(set(question_ids))
    prompts = PromptVersion.objects.only("sha256", "name").in_bulk({s.call.prompt for s in samples if s.call})
    calls = Call.objects.filter(run=run, question__in=set(question_ids))
    counted = calls.values_list("question_id", "stage", "item").annotate(n=Count("pk"))
    made = {(question, stage, item): n for question, stage, item, n in counted}
    for sample, question in zip(samples, question_ids, strict=True):
        sample.question = questions[question]
        sample.attempts = made.get((question, sample.stage, sample.item), 0)
        sample.prompt = prompts.get(sample.call.prompt) if sample.call else None


@dataclass(frozen=True, slots=True)
class SamplePage:
    samples: list[Sample]
    older: str  # cursor of the page of older ones; "" on the last


def read_samples(run: Run, kind: Kind, place: Place, *, before: str = "", size: int = PAGE) -> SamplePage:
    """Newest first, those older than the cursor `before`; one that cannot be read starts at the newest."""
    ids: Sequence[Key]
    if kind == "aside":
        rows = open_failures(run, stage=place.stage, endpoint=place.endpoint, error_class=place.error_class)
        if before.isascii() and before.isdigit() and len(before) < 19:
            rows = rows.filter(pk__lt=int(before))
        ids = list(rows.order_by("-pk").values_list("pk", flat=True)[: size + 1])
        older = str(ids[size - 1]) if len(ids) > size else ""
    else:
        calls = failed_calls(run, place)
        if (cursor := _call_cursor(before)) is not None:
            at, pk = cursor
            calls = calls.filter(created_at__lte=at).exclude(created_at=at, pk__gte=pk)
        found = list(calls.order_by("-created_at", "-pk").values_list("pk", "created_at")[: size + 1])
        ids = [pk for pk, _ in found]
        older = f"{(found[size - 1][1] - EPOCH) // MICROSECOND}_{ids[size - 1]}" if len(found) > size else ""
    return SamplePage(samples_of(run, kind, ids[:size]), older)


def _call_cursor(raw: str) -> tuple[datetime, uuid.UUID] | None:
    """`<microseconds since 1970>_<id of the call>`"""
    microseconds, _, pk = raw.partition("_")
    try:
        return EPOCH + int(microseconds[:20]) * MICROSECOND, uuid.UUID(pk)
    except (ValueError, OverflowError):
        return None
