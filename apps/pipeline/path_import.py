"""Paths that a lab already has, as a run whose generating stage is imported: judging and review can start from them.

Held-out questions may take part: importing, judging and reviewing them is allowed, generating on them is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.pipeline.config import ConfigError, RunConfig, default_config, parse_config
from apps.pipeline.path_rows import PathRow, read_path_rows
from apps.pipeline.path_store import Slots, store_rows
from apps.questions.fingerprints import fingerprint, normalise, normalise_option, stem_fingerprint
from apps.questions.importers.base import FileRefused, Problem, RowError
from apps.questions.importers.files import SourceFile
from apps.questions.models import LETTERS, Project, Question
from apps.questions.text import join_contexts
from apps.reasoning.models import Run, RunQuestion, RunState

MAX_PROBLEMS = 1_000
PUBLISHED_TEMPERATURES = (0.7, 0.9, 1.0)
_BATCH = 200  # rows held at a time, each with its paths

Progress = Callable[[int, int, int], None]  # (bytes read, bytes in all, rows)


@dataclass(slots=True)
class PathImportReport:
    """`skipped` counts rows left out. A row that lacks some of its paths comes in and is among the problems."""

    file: str
    run: str = ""
    questions: int = 0
    paths: int = 0
    skipped: int = 0
    refused: bool = False
    problems: list[Problem] = field(default_factory=list)
    problems_left_out: int = 0

    def add(self, line: int, field: str, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.file, line, field, message))
        else:
            self.problems_left_out += 1

    def as_json(self) -> dict[str, Any]:
        counts = ("run", "questions", "paths", "skipped", "refused", "problems_left_out")
        return {name: getattr(self, name) for name in counts} | {"problems": [p.as_json() for p in self.problems]}


class PathImportRefused(Exception):  # noqa: N818 - it is what happened to the file
    """Nothing was imported; the report's problems say why."""

    def __init__(self, report: PathImportReport) -> None:
        super().__init__(report.problems[0].message if report.problems else "refused")
        report.refused = True
        report.run, report.questions, report.paths = "", 0, 0
        self.report = report


def import_paths(
    *,
    path: Path,
    project: Project,
    name: str,
    generators: Sequence[str],
    temperatures: Sequence[float] | None = None,
    models: Sequence[str] = (),
    created_by: User | None = None,
    skip_bad_rows: bool = False,
    on_progress: Progress | None = None,
) -> PathImportReport:
    """Import one file as the run `name`, whole or not at all. Raises PathImportRefused.

    `generators` name model1, model2, …; `models` are their models' full names where these differ. `temperatures` are
    those of COT1, COT2, …; left out, three samples are expected and their paths' temperature stays unknown.
    A bad row, or a path that is missing, refuses the file unless `skip_bad_rows`.
    """
    report = PathImportReport(file=str(path))
    try:
        config = _config(generators, temperatures)
        if models and len(models) != len(generators):
            raise FileRefused(f"{len(models)} models for {len(generators)} generators", line=0, field="models")
        source = SourceFile(path)
        with transaction.atomic():
            run = _create_run(project, name, config, created_by)
            known = temperatures is not None
            _fill(run, source, Slots(config, tuple(models or generators), known), report, skip_bad_rows, on_progress)
    except FileRefused as refusal:
        report.add(refusal.line, refusal.field, refusal.message)
        raise PathImportRefused(report) from refusal
    return report


def _config(generators: Sequence[str], temperatures: Sequence[float] | None) -> RunConfig:
    """The published stages after generation; the tiers' cut-offs in proportion where there are not nine paths."""
    samples = list(PUBLISHED_TEMPERATURES if temperatures is None else temperatures)
    paths = len(generators) * len(samples)
    endpoints = [e for e in default_config()["endpoints"] if e["name"] in ("judge", "writer")]
    easy = paths * 4 // 9
    try:
        return parse_config(
            {
                "imported": True,
                "endpoints": endpoints,
                "generators": [{"name": g, "endpoint": g, "temperatures": samples} for g in generators],
                "cutoffs": {"easy": easy, "medium": max(easy + 1, paths * 7 // 9)},
            }
        )
    except ConfigError as error:
        raise FileRefused("; ".join(str(error).splitlines()), line=0, field="generators") from error


def _create_run(project: Project, name: str, config: RunConfig, created_by: User | None) -> Run:
    if not name.strip() or len(name) > 100:
        raise FileRefused("a run's name has 1 to 100 characters", line=0, field="name")
    now = timezone.now()
    run, created = Run.objects.get_or_create(
        project=project,
        name=name,
        defaults={
            "state": RunState.FINISHED,
            "config": config.model_dump(mode="json"),
            "config_hash": config.digest(),
            "created_by": created_by,
            "started_at": now,
            "finished_at": now,
        },
    )
    if not created:
        raise FileRefused(f"the project has a run named {name!r} already", line=0, field="name")
    return run


def _fill(
    run: Run,
    source: SourceFile,
    slots: Slots,
    report: PathImportReport,
    skip_bad_rows: bool,
    on_progress: Progress | None,
) -> None:
    samples = len(slots.config.generators[0].temperatures)
    found = read_path_rows(source, generators=len(slots.config.generators), samples=samples)
    read = 0
    while batch := list(islice(found, _BATCH)):
        read += len(batch)
        _import_batch(run, _good(batch, report), slots, report)
        if on_progress:
            on_progress(source.position(), source.size, read)
    if report.problems and not skip_bad_rows:
        report.skipped = read
        raise PathImportRefused(report)
    if not report.questions:
        if not report.problems:
            report.add(1, "", "holds no rows")
        raise PathImportRefused(report)
    report.run = run.name


def _good(batch: Iterable[PathRow | Problem], report: PathImportReport) -> list[PathRow]:
    good = []
    for row in batch:
        if isinstance(row, Problem):
            report.skipped += 1
            report.add(row.line, row.field, row.message)
        else:
            good.append(row)
    return good


def _import_batch(run: Run, rows: Sequence[PathRow], slots: Slots, report: PathImportReport) -> None:
    """Rows whose question is found, in the file's order; their counters and assessments with them."""
    chosen: dict[int, tuple[Question, PathRow]] = {}
    for row, question in zip(rows, _find_questions(run.project, rows), strict=True):
        if isinstance(question, RowError):
            report.skipped += 1
            report.add(row.line, question.field, question.message)
        elif question.pk in chosen:
            _reject_repeated(report, row, question)
        else:
            chosen[question.pk] = (question, row)
    for pk in RunQuestion.objects.filter(run=run, question_id__in=list(chosen)).values_list("question_id", flat=True):
        question, row = chosen.pop(pk)
        _reject_repeated(report, row, question)
    for _question, row in chosen.values():
        for name in row.missing:
            report.add(row.line, name, "no path here")
    report.questions += len(chosen)
    report.paths += store_rows(run, list(chosen.values()), slots)


def _reject_repeated(report: PathImportReport, row: PathRow, question: Question) -> None:
    report.skipped += 1
    report.add(row.line, "question", f"stands twice in this file, as {question.uid}")


# Which question a row is about


def _find_questions(project: Project, rows: Sequence[PathRow]) -> Iterator[Question | RowError]:
    """One for each row: the question with the same stem and options, or what is wrong."""
    prints = [fingerprint(row.question, row.options) for row in rows]
    stems = [_stems(row.question) for row in rows]
    by_print: defaultdict[str, list[Question]] = defaultdict(list)
    by_stem: defaultdict[str, list[Question]] = defaultdict(list)
    wanted = Q(fingerprint__in=prints) | Q(stem_fingerprint__in=[s for pair in stems for s in pair]) & ~Q(contexts=[])
    for question in Question.objects.visible_to(project).filter(wanted).defer("search", "explanation", "meta"):
        by_print[question.fingerprint].append(question)
        if question.contexts:
            by_stem[question.stem_fingerprint].append(question)
    for row, own, pair in zip(rows, prints, stems, strict=True):
        members = by_print.get(own) or _with_contexts(row, [q for stem in pair for q in by_stem.get(stem, ())])
        yield _choose(row, members)


def _stems(text: str) -> tuple[str, ...]:
    """Of the whole text, and of its last paragraph: the contexts may stand before the stem, as in our records."""
    head, gap, last = text.rpartition("\n\n")
    return (stem_fingerprint(text), stem_fingerprint(last)) if gap and head else (stem_fingerprint(text),)


def _with_contexts(row: PathRow, candidates: Sequence[Question]) -> list[Question]:
    """Questions that have contexts (PubMedQA), which count in their fingerprint: by these too, or by a stem of its own."""
    options = sorted(map(normalise_option, row.options))
    same = [q for q in candidates if sorted(map(normalise_option, q.options)) == options]
    head = normalise(row.question.rpartition("\n\n")[0])
    told = [q for q in same if head and normalise(join_contexts(q.contexts)) == head]
    alone = [q for q in same if stem_fingerprint(row.question) == q.stem_fingerprint]
    return told or (alone if len({q.fingerprint for q in alone}) == 1 else [])


def _choose(row: PathRow, members: Sequence[Question]) -> Question | RowError:
    """Of the duplicates that have this order of options and this key, the canonical one; a trainable before a held-out."""
    if not members:
        return RowError("question", "no such question in the ledger; import its benchmark first")
    order = list(map(normalise_option, row.options))
    ordered = [q for q in members if list(map(normalise_option, q.options)) == order]
    if not ordered:
        return RowError("options", f"in another order than in {members[0].uid}: letters in the paths would be misread")
    keyed = [q for q in ordered if q.key in row.keys]
    if not keyed:
        letters = " or ".join(LETTERS[k] for k in sorted(row.keys))
        return RowError("answer", f"is {letters} here, but {ordered[0].uid} has the key {ordered[0].key_letter}")
    return min(keyed, key=lambda q: (q.canonical_id is not None, q.held_out, q.pk))
