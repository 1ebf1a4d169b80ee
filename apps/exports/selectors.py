"""Reads for the export pages and the API."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum

from apps.exports.errors import ExportRefusedError
from apps.exports.folder import CERTIFICATE, CERTIFICATE_SIGNATURE, MANIFEST, SIGNATURE
from apps.exports.models import Snapshot
from apps.exports.records import Variant
from apps.exports.tally import HELD_OUT
from apps.exports.writers import FileEntry
from apps.questions.models import Benchmark, Project
from apps.reasoning.models import QuestionState, Run, RunQuestion, Tier
from apps.review.records.signoff import SignOff, count_signed_off, refusal, sign_offs


@dataclass(slots=True)
class PreviewRow:
    benchmark: str
    questions: int = 0
    ready: int = 0
    records: int = 0
    tiers: Counter[str] = field(default_factory=Counter)  # ready questions by tier

    @property
    def tier_counts(self) -> list[int]:
        return [self.tiers[tier] for tier in Tier.values]


@dataclass(slots=True)
class Preview:
    """What an export of the run would hold if it were built now. Waiting + excluded + ready = questions."""

    rows: dict[str, PreviewRow] = field(default_factory=dict)
    tier_records: Counter[str] = field(default_factory=Counter)
    sign_offs: list[SignOff] = field(default_factory=list)  # of the tiers for which the run asks for it
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)  # (state, reason) → questions

    @property
    def questions(self) -> int:
        return sum(row.questions for row in self.rows.values())

    @property
    def ready(self) -> int:
        return sum(row.ready for row in self.rows.values())

    @property
    def records(self) -> int:
        return sum(row.records for row in self.rows.values())

    @property
    def tier_counts(self) -> list[int]:
        return [sum(row.tiers[tier] for row in self.rows.values()) for tier in Tier.values]

    @property
    def refusal(self) -> str:
        """Why an export would be refused now; "" where it would not."""
        return refusal(self.sign_offs)

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """Excluded first, then waiting, most first."""
        return sorted(
            ((s, r, n) for (s, r), n in self.left_out.items()),
            key=lambda x: (x[0] != QuestionState.EXCLUDED, -x[2], x[1]),
        )


def preview_export(run: Run) -> Preview:
    """One grouped read over the run's narrow rows; the questions, which are wide, only for the few held out among them."""
    rows = RunQuestion.objects.filter(run=run).order_by()
    names = dict(Benchmark.objects.values_list("pk", "name"))
    held_out = [] if run.allow_held_out else _grouped(rows.filter(question__held_out=True, state=QuestionState.READY))
    moved = {tuple(group): (count, records) for *group, count, records in held_out}
    preview = Preview()
    for benchmark, state, reason, tier, count, records in _grouped(rows):
        row = preview.rows.setdefault(names[benchmark], PreviewRow(names[benchmark]))
        row.questions += count
        if out := moved.get((benchmark, state, reason, tier)):
            preview.left_out[QuestionState.EXCLUDED, HELD_OUT] += out[0]
            count, records = count - out[0], records - out[1]
        if state == QuestionState.READY:
            row.ready += count
            row.records += records
            row.tiers[tier] += count
            preview.tier_records[tier] += records
        else:
            preview.left_out[state, reason] += count
    preview.rows = dict(sorted(preview.rows.items()))
    if required := run.config.get("sign_off"):
        preview.sign_offs = sign_offs(required, records=preview.tier_records, signed=count_signed_off(run))
    return preview


def _grouped(rows: QuerySet[RunQuestion]) -> list[tuple[int, str, str, str, int, int]]:
    """(benchmark, state, reason, tier, questions, records)"""
    grouped = rows.values_list("benchmark", "state", "reason", "tier")
    return list(grouped.annotate(n=Count("id"), r=Sum("records")))


def check_signed_off(run: Run) -> None:
    """Raises ExportRefusedError while people have accepted less than the run asks for, before anything is written.

    The builder looks again at each record's content.
    """
    if run.config.get("sign_off") and (why_not := preview_export(run).refusal):
        raise ExportRefusedError(why_not)


def snapshots_of(project: Project) -> QuerySet[Snapshot]:
    """Newest first."""
    return (
        Snapshot.objects.filter(project=project, run__project=project)
        .select_related("run", "project", "created_by", "published_by")
        .order_by("-created_at", "-id")
    )


def snapshots_before(project: Project, before: UUID | None) -> QuerySet[Snapshot]:
    """Those that come after `before` in the list (keyset); all when it is None or not there."""
    found = snapshots_of(project)
    last = found.filter(pk=before).first() if before else None
    if last is None:
        return found
    return found.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk))


def snapshot_called(project: Project, called: str) -> Snapshot | None:
    """By the name it was published under, else as `<run>.<number>`."""
    found = snapshots_of(project)
    if called and (named := found.filter(name=called).first()):
        return named
    run, _, number = called.rpartition(".")
    if not number.isdecimal() or len(number) > 9:
        return None
    return found.filter(run__name=run, number=int(number)).first()


def files_of(snapshot: Snapshot, *, variant: Variant | None = None) -> list[FileEntry]:
    """The files of a finished snapshot as its manifest names them, the dataset card last."""
    if not snapshot.manifest:
        return []
    named = snapshot.manifest
    files: list[FileEntry] = [*named["files"], *named.get("extras", ()), named["card"]]
    return [f for f in files if variant is None or f["path"].startswith((f"{variant}-", f"{variant}."))]


def file_named(snapshot: Snapshot, name: str) -> FileEntry | None:
    """Only a name that the manifest knows, its own, or one that stands beside it; so no name can lead out of the folder."""
    if snapshot.manifest and name in (MANIFEST, SIGNATURE, CERTIFICATE, CERTIFICATE_SIGNATURE):
        return {"path": name, "sha256": "", "records": 0, "bytes": 0}
    return next((f for f in files_of(snapshot) if f["path"] == name), None)
