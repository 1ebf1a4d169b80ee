"""What stands behind each record: a page of questions read with everything its records are made from.

Each page is one short read of a single moment of the ledger (REPEATABLE READ), in a fixed number of queries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from apps.exports.errors import LedgerBrokenError
from apps.pipeline.models import Call
from apps.questions.models import Question
from apps.reasoning.models import (
    BASE_ORIGINS,
    Label,
    PathLabel,
    QuestionState,
    RankScore,
    ReasoningPath,
    Response,
    Run,
    RunQuestion,
    Selection,
    Verdict,
    VerdictSource,
)
from apps.review.models_records import Decision, RecordDecision
from apps.review.records.content import content_hash

PAGE = 200  # questions a read
PATH_FIELDS = (
    "run_id", "question_id", "origin", "generator", "sample", "parent_id", "revision", "current", "model",
    "temperature", "seed", "call_id", "answer", "finish_reason",
)  # fmt: skip


@dataclass(slots=True)
class Kept:
    """A kept path with its response: one record, and the calls and verdicts it rests on."""

    slot: int
    why: str
    path: ReasoningPath
    source: ReasoningPath | None  # what was chosen, where the kept path is its rewriting
    response: Response
    verdicts: list[Verdict]  # of the kept path, its earlier attempts and the source
    score: RankScore | None
    own_calls: list[Call]  # that wrote, judged or ranked this record's texts
    signed_by: int | None  # who accepted it, while its content is still what they read
    simulated_stages: list[str]  # with a simulated call anywhere in the lineage, the question's other paths included


@dataclass(slots=True)
class Asked:
    """A question of the run with what it gives; `kept` is empty unless it is ready."""

    row: RunQuestion
    question: Question
    kept: list[Kept] = field(default_factory=list)
    left_out: int = 0  # records that a person excluded
    tier_verdicts: list[int] = field(default_factory=list)  # current verdicts of the paths that set the tier


def read_pages(run: Run, *, page: int = PAGE) -> Iterator[list[Asked]]:
    """All questions of the run by question id, a page at a time. Raises LedgerBrokenError."""
    after = 0
    while True:
        with one_moment():
            found = _read_page(run, after=after, size=page)
        if not found:
            return
        yield found
        after = found[-1].row.question_id


def read_question(run: Run, question: Question) -> Asked | None:
    """One question as the builder sees it, or None when it is not in the run. Raises LedgerBrokenError."""
    found = _read_page(run, after=question.pk - 1, size=1)
    return found[0] if found and found[0].row.question_id == question.pk else None


@contextmanager
def one_moment() -> Iterator[None]:
    """All reads inside see one moment of the ledger; inside a caller's transaction, what that one sees."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _read_page(run: Run, *, after: int, size: int) -> list[Asked]:
    rows = list(RunQuestion.objects.filter(run=run, question_id__gt=after).order_by("question_id")[:size])
    questions = Question.objects.select_related("benchmark").defer("search", "explanation", "meta")
    found = questions.in_bulk([row.question_id for row in rows])
    asked = [Asked(row=row, question=found[row.question_id]) for row in rows]
    ready = [a for a in asked if a.row.state == QuestionState.READY]
    if ready:
        evidence = _Evidence(run, [a.row.question_id for a in ready])
        for a in ready:
            evidence.attach(a)
    return asked


class _Evidence:
    """The selections, paths, verdicts, scores, responses and calls of a page's ready questions, by what they belong to."""

    def __init__(self, run: Run, question_ids: list[int]) -> None:
        self.run = run
        self.selections = _grouped(
            Selection.objects.filter(run=run, question_id__in=question_ids, current=True).order_by("slot"),
            "question_id",
        )
        chosen = {s.path_id for s in _flat(self.selections)} | {s.source_id for s in _flat(self.selections)}
        self._read_paths(question_ids, {pk for pk in chosen if pk})
        self.labels = {p.path_id: p for p in PathLabel.objects.filter(run=run, question_id__in=question_ids)}
        judged = Q(source=VerdictSource.JUDGE, run=run)
        said = ~Q(source=VerdictSource.JUDGE) & ~Q(label=Label.UNJUDGED) & Q(project=run.project_id, counts=True)
        verdicts = Verdict.objects.filter(judged | said, path__question_id__in=question_ids, current=True)
        self.verdicts = _grouped(
            verdicts.only("path_id", "label", "source", "reviewer_id", "call_id").order_by("id"), "path_id"
        )
        scores = RankScore.objects.filter(run=run, path__question_id__in=question_ids)
        self.scores = {s.path_id: s for s in scores.only("path_id", "score", "call_id")}
        responses = Response.objects.filter(run=run, path__question_id__in=question_ids, current=True)
        self.responses = {r.path_id: r for r in responses}
        self.calls = self._read_calls(question_ids)
        decided = RecordDecision.objects.filter(run=run, question_id__in=question_ids, current=True)
        self.decisions = {d.path_id: d for d in decided.only("path_id", "decision", "content_hash", "by_id")}

    def _read_paths(self, question_ids: list[int], chosen: set[int]) -> None:
        """Those that set the tier and this run's rewritings, without texts; the texts of what was chosen."""
        run = self.run
        base = Q(run_id=run.paths_run_id, origin__in=BASE_ORIGINS, current=True)
        rewritten = Q(run=run) & ~Q(origin__in=BASE_ORIGINS)
        involved = ReasoningPath.objects.filter(base | rewritten | Q(pk__in=chosen), question_id__in=question_ids)
        self.paths = {p.pk: p for p in involved.only(*PATH_FIELDS).order_by("id")}
        self.texts = dict(ReasoningPath.objects.filter(pk__in=chosen).values_list("pk", "text"))
        self.paths_of = _grouped(self.paths.values(), "question_id")

    def _read_calls(self, question_ids: list[int]) -> dict[UUID, Call]:
        """All calls of the questions in the run and in the one its paths come from: an index walk."""
        runs = {self.run.pk, self.run.paths_run_id}
        calls = Call.objects.filter(run_id__in=runs, question_id__in=question_ids)
        return {c.pk: c for c in calls.only("run_id", "stage", "endpoint", "model", "prompt", "simulated")}

    def attach(self, asked: Asked) -> None:
        question_id = asked.row.question_id
        base = [p for p in self.paths_of[question_id] if p.origin in BASE_ORIGINS and p.run_id == self.run.paths_run_id]
        asked.tier_verdicts = [v.pk for p in base for v in self.verdicts[p.pk]]
        shared = self._calls_of(*base, *(v for p in base for v in self.verdicts[p.pk]), *self._scores_of(base))
        leaving = [s for s in self.selections[question_id] if not self._excluded(s)]
        asked.left_out = len(self.selections[question_id]) - len(leaving)
        asked.kept = [self._kept(asked, selection, shared) for selection in leaving]
        if not asked.kept or len(asked.kept) != asked.row.records:
            raise LedgerBrokenError(
                _said(asked, f"counts {asked.row.records} records but {len(asked.kept)} paths are kept")
            )

    def _kept(self, asked: Asked, selection: Selection, shared: list[Call]) -> Kept:
        path = self.paths.get(selection.path_id or 0)
        if path is None:
            raise LedgerBrokenError(_said(asked, f"slot {selection.slot} keeps no path of this question"))
        self._check(asked, path)
        path.text = self.texts[path.pk]
        source = self.paths.get(selection.source_id or 0)
        chain = [*self._attempts(path), *([source] if source and source.pk != path.pk else [])]
        verdicts = [v for p in chain for v in self.verdicts[p.pk]]
        response = self.responses[path.pk]
        scores = self._scores_of([source] if source else [])
        own = self._calls_of(*chain, *verdicts, *scores, response)
        return Kept(
            slot=selection.slot,
            why=selection.why,
            path=path,
            source=source if source and source.pk != path.pk else None,
            response=response,
            verdicts=verdicts,
            score=scores[0] if scores else None,
            own_calls=own,
            signed_by=self._signed_by(asked.question, path, response),
            simulated_stages=sorted({c.stage for c in (*own, *shared) if c.simulated}),
        )

    def _excluded(self, selection: Selection) -> bool:
        decision = self.decisions.get(selection.path_id or 0)
        return decision is not None and decision.decision == Decision.EXCLUDED

    def _signed_by(self, question: Question, path: ReasoningPath, response: Response) -> int | None:
        decision = self.decisions.get(path.pk)
        if decision is None or decision.decision != Decision.ACCEPTED:
            return None
        same = decision.content_hash == content_hash(question, cot=path.text, response=response.text)
        return decision.by_id if same else None

    def _check(self, asked: Asked, path: ReasoningPath) -> None:
        """Invariant 4: what leaves was judged Correct, is not disputed or replaced, and its response states the key."""
        label, response = self.labels.get(path.pk), self.responses.get(path.pk)
        key = asked.question.key_letter
        if label is None or label.label != Label.CORRECT or label.disputed:
            said = "disputed" if label and label.disputed else label.label if label else "not judged"
            raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which is {said}"))
        if not path.current:
            raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which was replaced by a later one"))
        if response is None:
            raise LedgerBrokenError(_said(asked, f"keeps path {path.pk}, which has no response"))
        if response.answer != key:
            raise LedgerBrokenError(
                _said(asked, f"the response to path {path.pk} answers {response.answer or 'nothing'}, the key is {key}")
            )

    def _attempts(self, path: ReasoningPath) -> list[ReasoningPath]:
        """The path, and for a rewriting the attempts before it: their verdicts' reasons went into it."""
        if path.origin in BASE_ORIGINS:
            return [path]
        slot = (path.run_id, path.origin, path.generator, path.sample, path.parent_id)
        same = (
            p
            for p in self.paths_of[path.question_id]
            if slot == (p.run_id, p.origin, p.generator, p.sample, p.parent_id)
        )
        return sorted((p for p in same if p.revision <= path.revision), key=lambda p: -p.revision)

    def _scores_of(self, paths: list[ReasoningPath]) -> list[RankScore]:
        return [self.scores[p.pk] for p in paths if p.pk in self.scores]

    def _calls_of(self, *owners: Any) -> list[Call]:
        return [self.calls[owner.call_id] for owner in owners if owner.call_id]


def _said(asked: Asked, what: str) -> str:
    return f"{asked.question.uid} counts as ready in run {asked.row.run_id}, but {what}"


def _grouped(rows: Iterable[Any], name: str) -> defaultdict[int, list[Any]]:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, name)].append(row)
    return groups


def _flat(groups: dict[int, list[Any]]) -> Iterable[Any]:
    return (row for rows in groups.values() for row in rows)
