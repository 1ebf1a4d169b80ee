"""Writes of questions: the import of one published file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.questions import staging
from apps.questions.importers import IMPORTERS, FileRefused, ParsedQuestion, Problem, ReadOptions
from apps.questions.importers.files import SourceFile
from apps.questions.importers.mmlu import SUBJECTS, subject_and_split
from apps.questions.models import Benchmark, ImportBatch
from apps.questions.published import SPLIT_ALIASES, SPLITS

MAX_PROBLEMS = 1_000  # kept in a report; the rest are counted
_PROGRESS_EVERY = 500

Progress = Callable[[int, int, int], None]  # bytes read, bytes in all, rows


@dataclass(slots=True)
class ImportReport:
    """What became of one file's rows: read = created + existing + skipped; duplicates and flagged are among the created.

    `moved` existing rows changed their split (PubMedQA); `flags` counts created rows by flag.
    """

    file: str
    read: int = 0
    created: int = 0
    existing: int = 0
    duplicates: int = 0
    flagged: int = 0
    skipped: int = 0
    moved: int = 0
    refused: bool = False
    bad_rows_only: bool = False  # refused, but `skip_bad_rows` would import the rest
    flags: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problems_left_out: int = 0

    def add(self, problem: Problem) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.problems_left_out += 1

    def as_json(self) -> dict[str, Any]:
        counts = ("read", "created", "existing", "duplicates", "flagged", "skipped", "moved", "refused", "flags")
        return {
            **{name: getattr(self, name) for name in counts},
            "problems": [problem.as_json() for problem in self.problems],
            "problems_left_out": self.problems_left_out,
        }


class ImportRefused(Exception):  # noqa: N818 - it is what happened to the file
    """Nothing of the file was imported; the report's problems say why."""

    def __init__(self, report: ImportReport) -> None:
        super().__init__(report.problems[0].message if report.problems else "refused")
        self.report = report


def import_questions(
    *,
    benchmark: str,
    path: Path,
    split: str = "",
    subject: str = "",
    held_out_ids: frozenset[str] | None = None,
    cop_base: int | None = None,
    skip_bad_rows: bool = False,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Import one file, whole or not at all. Raises ImportRefused.

    A bad row refuses its file unless `skip_bad_rows`; a row published without a key is left out and reported either
    way. `split` may stay empty for MMLU, whose file names tell it. Importing a file again creates nothing.
    """
    report = ImportReport(file=str(path))
    try:
        options = _options(benchmark, path, split, subject, held_out_ids, cop_base)
        source = SourceFile(path)
        with transaction.atomic():
            _import(benchmark, source, options, report, skip_bad_rows, on_progress)
    except FileRefused as refusal:
        report.add(Problem(report.file, refusal.line, refusal.field, refusal.message))
        raise _refused(report) from refusal
    return report


def _import(
    benchmark: str,
    source: SourceFile,
    options: ReadOptions,
    report: ImportReport,
    skip_bad_rows: bool,
    on_progress: Progress | None,
) -> None:
    staging.copy_rows(benchmark, _good_rows(benchmark, source, options, report, on_progress))
    _drop_clashes(report)
    if not skip_bad_rows and not all(problem.no_key for problem in report.problems):
        report.bad_rows_only = True
        raise _refused(report)
    if not report.read:
        raise FileRefused("holds no rows")
    owner = Benchmark.objects.get(slug=benchmark)
    batch = ImportBatch.objects.create(
        benchmark=owner, split=options.split, file_name=source.path.name[:255], sha256=source.sha256()
    )
    staging.drop_repeated_rows()
    report.moved = staging.move_splits()
    report.created = staging.insert_rows(benchmark_id=owner.pk, batch_id=batch.pk)
    report.existing = report.read - report.created - report.skipped
    if report.created or report.moved:
        report.duplicates = staging.link_duplicates(batch_id=batch.pk)
        staging.flag_conflicting_keys()
        report.flagged, report.flags = staging.count_flags(batch_id=batch.pk)
    batch.report = report.as_json()
    batch.save(update_fields=("report",))


def _good_rows(
    benchmark: str, source: SourceFile, options: ReadOptions, report: ImportReport, on_progress: Progress | None
) -> Iterator[ParsedQuestion]:
    for row in IMPORTERS[benchmark](source, options):
        report.read += 1
        if on_progress and report.read % _PROGRESS_EVERY == 0:
            on_progress(source.position(), source.size, report.read)
        if isinstance(row, Problem):
            report.skipped += 1
            report.add(row)
        else:
            yield row
    if on_progress:
        on_progress(source.size, source.size, report.read)


def _drop_clashes(report: ImportReport) -> None:
    dropped: set[int] = set()
    for clash in staging.find_clashes():
        if clash.row_no not in dropped:
            dropped.add(clash.row_no)
            report.skipped += 1
            report.add(Problem(report.file, clash.line, "id", clash.reason))
    if dropped:
        staging.drop_rows(list(dropped))


def _refused(report: ImportReport) -> ImportRefused:
    """All rows that were read count as skipped: none of them came in."""
    report.refused = True
    report.created = report.existing = report.duplicates = report.flagged = report.moved = 0
    report.flags = {}
    report.skipped = report.read
    return ImportRefused(report)


def _options(
    benchmark: str, path: Path, split: str, subject: str, held_out_ids: frozenset[str] | None, cop_base: int | None
) -> ReadOptions:
    if held_out_ids is not None and benchmark != "pubmedqa":
        raise FileRefused("a test key of held-out ids is for PubMedQA only", line=0, field="held_out_ids")
    if cop_base is not None and benchmark != "medmcqa":
        raise FileRefused("only MedMCQA has a cop to count from 0 or 1", line=0, field="cop_base")
    if benchmark == "mmlu":
        split, subject = _mmlu_names(path, split, subject)
    split = SPLIT_ALIASES[benchmark].get(split, split)
    if split not in SPLITS[benchmark]:
        known = ", ".join(SPLITS[benchmark])
        raise FileRefused(
            f"say which split it is: {known}" if not split else f"{split!r} is none of {known}", line=0, field="split"
        )
    return ReadOptions(split=split, subject=subject, held_out_ids=held_out_ids, cop_base=cop_base)


def _mmlu_names(path: Path, split: str, subject: str) -> tuple[str, str]:
    named_subject, named_split = subject_and_split(path)
    split = SPLIT_ALIASES["mmlu"].get(split, split)
    subject = re.sub(r"[^a-z0-9]+", "_", subject.lower()).strip("_")
    if named_subject in SUBJECTS and subject in ("", named_subject) and split not in ("", named_split):
        raise FileRefused(
            f"its name says {named_split}, not {split}: test rows must stay held out", line=0, field="split"
        )
    subject = subject or named_subject
    if not subject or len(subject) > 60:
        raise FileRefused(
            "say which subject it is (--subject), or name it <subject>_<split>.csv", line=0, field="subject"
        )
    return split or named_split, subject
