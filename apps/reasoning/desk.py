"""The question page: one question of a run with its paths, verdicts, choices and calls, in a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from apps.questions.models import Question
from apps.reasoning.layout import Layout, Slot, layout_of
from apps.reasoning.models import (
    BASE_ORIGINS,
    Label,
    Origin,
    PathLabel,
    RankScore,
    ReasoningPath,
    Response,
    Run,
    RunQuestion,
    Selection,
    Verdict,
    VerdictSource,
)

if TYPE_CHECKING:
    from apps.pipeline.models import Call, Failure


@dataclass(slots=True)
class PathView:
    """A path with everything said of it in this run. `verdicts` oldest first, replaced ones included."""

    path: ReasoningPath
    question: Question
    run: Run
    label: PathLabel | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    score: RankScore | None = None
    kept: Selection | None = None  # it leaves
    chosen: Selection | None = None  # its rewriting leaves
    responses: list[Response] = field(default_factory=list)
    parent: PathView | None = None
    children: list[PathView] = field(default_factory=list)

    @property
    def name(self) -> str:
        """ "qwen2.5-72b, T 0.7", "qwen2.5-72b, T 0.7, refined", "Regenerated 1, revision 2"."""
        path, revision = self.path, f", revision {self.path.revision}" if self.path.revision > 1 else ""
        if path.origin == Origin.REGENERATED:
            return f"Regenerated {path.sample}{revision}"
        source = self.parent.path if self.parent else path
        temperature = f", T {source.temperature}" if source.temperature is not None else f" #{source.sample}"
        rewritten = ", refined" if path.origin == Origin.REFINED else ""
        return f"{path.generator}{temperature}{rewritten}{revision}"

    @property
    def word(self) -> str:
        """The effective label, or `disputed`."""
        if self.label is None:
            return Label.UNJUDGED
        return "disputed" if self.label.disputed else self.label.label

    @property
    def judge(self) -> Verdict | None:
        return next((v for v in reversed(self.verdicts) if v.source == VerdictSource.JUDGE and v.current), None)

    @property
    def people(self) -> list[Verdict]:
        """What people say now; not what they took back."""
        said = [v for v in self.verdicts if v.source != VerdictSource.JUDGE and v.current]
        return [v for v in said if v.label != Label.UNJUDGED]

    @property
    def contradiction(self) -> bool:
        return bool(self.label and self.label.contradiction)

    @property
    def overridden(self) -> bool:
        return bool(self.label and self.label.overridden)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """(icon, words) of what is worth a look, for the cell in the grid."""
        said = []
        if self.path.answer and self.path.answer != self.question.key_letter and self.word == Label.CORRECT:
            said.append(("warn", "Answer is not the key"))
        if self.path.truncated:
            said.append(("warn", "Cut off at the length limit"))
        elif not self.path.answer:
            said.append(("warn", "No answer stated"))
        if self.overridden:
            said.append(("person", "Overridden"))
        if self.kept:
            said.append(("out", f"Kept, record {self.kept.slot}"))
        elif self.chosen:
            said.append(("out", f"Chosen, record {self.chosen.slot}"))
        return said

    @property
    def response(self) -> Response | None:
        return next((r for r in self.responses if r.current), None)


@dataclass(frozen=True, slots=True)
class Cell:
    slot: Slot
    view: PathView | None


@dataclass(frozen=True, slots=True)
class GridRow:
    generator: str
    model: str
    cells: tuple[Cell, ...]


@dataclass(slots=True)
class StageCost:
    stage: str
    endpoint: str
    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    cost: Decimal = Decimal(0)
    simulated: int = 0
    last_error: str = ""

    def add(self, call: Call) -> None:
        self.calls += 1
        self.tokens_in += call.tokens_in or 0
        self.tokens_cached += call.tokens_cached or 0
        self.tokens_out += call.tokens_out or 0
        self.cost += call.cost
        self.simulated += call.simulated
        self.last_error = call.error_class or self.last_error


@dataclass(slots=True)
class Desk:
    run: Run
    row: RunQuestion
    question: Question
    layout: Layout
    grid: list[GridRow]
    rewritten: list[PathView]
    views: dict[int, PathView]
    selections: list[Selection]
    costs: list[StageCost]
    total: StageCost
    calls: dict[Any, Call]
    failures: list[Failure]

    @property
    def headings(self) -> list[str]:
        """The temperatures, unless the paths do not say theirs (a lab's own, imported)."""
        known = any(v.path.temperature is not None for v in self.views.values() if v.path.origin in BASE_ORIGINS)
        if known or not self.views:
            return self.layout.headings
        return [f"Sample {column + 1}" for column in range(self.layout.columns)]

    @property
    def overrides(self) -> int:
        return sum(view.overridden for view in self.views.values())

    def opened(self, path_id: int | None) -> PathView | None:
        """The path asked for, else one that leaves, else the first there is."""
        if path_id in self.views:
            return self.views[path_id]
        kept = next((s.path_id for s in self.selections if s.path_id), None)
        return self.views.get(kept or 0) or next(iter(self.views.values()), None)


def read_desk(row: RunQuestion) -> Desk:
    """`row` with its run and question already read."""
    run, question = row.run, row.question
    views = _views(run, question)
    _attach(run, question, views)
    layout = layout_of(run.config)
    current = {
        (v.path.generator, v.path.sample): v for v in views.values() if v.path.origin in BASE_ORIGINS and v.path.current
    }
    grid = [
        GridRow(r.generator, r.model, tuple(Cell(s, current.get((s.generator, s.sample))) for s in r.slots))
        for r in layout.rows
    ]
    selections = list(Selection.objects.filter(run=run, question=question, current=True).order_by("slot"))
    for selection in selections:
        if selection.path_id in views:
            views[selection.path_id].kept = selection
        if selection.source_id in views and selection.source_id != selection.path_id:
            views[selection.source_id].chosen = selection
    calls = {call.pk: call for call in _calls(run, question)}
    costs, total = _costs(calls.values())
    return Desk(
        run=run,
        row=row,
        question=question,
        layout=layout,
        grid=grid,
        rewritten=[v for v in views.values() if v.path.origin not in BASE_ORIGINS],
        views=views,
        selections=selections,
        costs=costs,
        total=total,
        calls=calls,
        failures=list(run.failures.filter(question=question, resolved_at__isnull=True).order_by("pk")),
    )


def _views(run: Run, question: Question) -> dict[int, PathView]:
    """The run's paths in grid order, then its rewritings; replaced generations are left out."""
    base = Q(run_id=run.paths_run_id, origin__in=BASE_ORIGINS, current=True)
    rewritten = Q(run=run) & ~Q(origin__in=BASE_ORIGINS)
    found = ReasoningPath.objects.filter(base | rewritten, question=question).defer("raw")
    places = {(s.generator, s.sample): s.index for r in layout_of(run.config).rows for s in r.slots}

    def order(path: ReasoningPath) -> tuple[int, int, int]:
        later = path.origin not in BASE_ORIGINS
        return (later, places.get((path.generator, path.sample), len(places)), path.pk)

    views = {path.pk: PathView(path, question, run) for path in sorted(found, key=order)}
    for view in views.values():
        if view.path.parent_id in views:
            view.parent = views[view.path.parent_id]
            view.parent.children.append(view)
    return views


def _attach(run: Run, question: Question, views: dict[int, PathView]) -> None:
    ids = list(views)
    for label in PathLabel.objects.filter(run=run, question=question):
        if label.path_id in views:
            views[label.path_id].label = label
    judged = Q(source=VerdictSource.JUDGE, run=run) | (~Q(source=VerdictSource.JUDGE) & Q(project=run.project_id))
    for verdict in Verdict.objects.filter(judged, path__in=ids).select_related("reviewer").order_by("pk"):
        views[verdict.path_id].verdicts.append(verdict)
    for score in RankScore.objects.filter(run=run, path__in=ids):
        views[score.path_id].score = score
    for response in Response.objects.filter(run=run, path__in=ids).order_by("-revision"):
        views[response.path_id].responses.append(response)


def _calls(run: Run, question: Question) -> list[Call]:
    """Of this run, and of the run whose paths it judges: all that stands behind the question."""
    runs = (run.paths_from, run) if run.paths_from else (run,)
    return [call for one in runs for call in one.calls.filter(question=question).order_by("created_at", "pk")]


def _costs(calls: Iterable[Call]) -> tuple[list[StageCost], StageCost]:
    found: dict[tuple[str, str], StageCost] = {}
    total = StageCost("", "")
    for call in calls:
        key = (call.stage, call.endpoint)
        found.setdefault(key, StageCost(*key)).add(call)
        total.add(call)
    order = defaultdict(lambda: 9, generate=0, verify=1, rank=2, refine=3, regenerate=4, reverify=5, summarise=6)
    return sorted(found.values(), key=lambda c: (order[c.stage], c.endpoint)), total
