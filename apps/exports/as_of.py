"""What snapshots hold of a question, a path or a record, and how that differs from the ledger now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from apps.exports.comparing import path_words
from apps.exports.models import ExportState, Snapshot, SnapshotOmission, SnapshotRecord
from apps.questions.models import Project, Question
from apps.reasoning.models import QuestionState, ReasoningPath, Response, Run, RunQuestion, Selection
from apps.review.models_records import Decision, RecordDecision
from apps.review.records.content import content_hash

NEWEST = 50  # snapshots looked into


@dataclass(frozen=True, slots=True)
class Held:
    """A record of a snapshot. `now`: how it stands to the record that the ledger would make of the same slot today."""

    record: SnapshotRecord
    path_words: str
    response_revision: int | None
    now: str  # "same", or what differs


@dataclass(slots=True)
class InSnapshot:
    snapshot: Snapshot
    held: list[Held] = field(default_factory=list)
    left_out: list[SnapshotOmission] = field(default_factory=list)


def snapshots_with(project: Project, run: Run, question: Question) -> list[InSnapshot]:
    """Of the newest snapshots of the run, what each says of the question; newest first. Seven reads, whatever their number."""
    done = Snapshot.objects.filter(project=project, run=run, state=ExportState.DONE).defer("manifest")
    snapshots = list(done.select_related("run").order_by("-created_at", "-id")[:NEWEST])
    found = {s.pk: InSnapshot(s) for s in snapshots}
    held = list(SnapshotRecord.objects.filter(snapshot__in=snapshots, question=question).order_by("slot"))
    for record, one in zip(held, _described(run, question, held), strict=True):
        found[record.snapshot_id].held.append(one)
    for omission in SnapshotOmission.objects.filter(snapshot__in=snapshots, question=question).order_by("slot"):
        found[omission.snapshot_id].left_out.append(omission)
    return [one for one in found.values() if one.held or one.left_out]


def describe(run: Run, question: Question, record: SnapshotRecord) -> Held:
    return _described(run, question, [record])[0]


def texts_of(question: Question, record: SnapshotRecord) -> tuple[str, str] | None:
    """CoT and response as the snapshot holds them; None where the ledger can no longer give them to the letter."""
    path = ReasoningPath.objects.filter(pk=record.path_id).values_list("text", flat=True).first()
    response = Response.objects.filter(pk=record.response_id).values_list("text", flat=True).first()
    if path is None or response is None:
        return None
    same = content_hash(question, cot=path, response=response) == bytes(record.content).hex()
    return (path, response) if same else None


def _described(run: Run, question: Question, held: Iterable[SnapshotRecord]) -> list[Held]:
    records = list(held)
    paths = ReasoningPath.objects.filter(pk__in={r.path_id for r in records})
    words = {
        pk: path_words(origin, generator, sample, revision)
        for pk, origin, generator, sample, revision in paths.values_list(
            "pk", "origin", "generator", "sample", "revision"
        )
    }
    revisions = dict(Response.objects.filter(pk__in={r.response_id for r in records}).values_list("pk", "revision"))
    now = _Now(run, question) if records else None
    return [
        Held(r, words.get(r.path_id, ""), revisions.get(r.response_id), now.compare(r) if now else "") for r in records
    ]


class _Now:
    """The question's records as they would leave today."""

    def __init__(self, run: Run, question: Question) -> None:
        self._question = question
        self._row = RunQuestion.objects.filter(run=run, question=question).first()
        chosen = Selection.objects.filter(run=run, question=question, current=True, path__isnull=False)
        self._paths = {s.slot: s.path for s in chosen.select_related("path").defer("path__raw")}
        current = Response.objects.filter(run=run, path__question=question, current=True)
        self._responses = {r.path_id: r for r in current}
        excluded = RecordDecision.objects.filter(run=run, question=question, current=True, decision=Decision.EXCLUDED)
        self._excluded = set(excluded.values_list("path_id", flat=True))

    def compare(self, record: SnapshotRecord) -> str:
        row, path = self._row, self._paths.get(record.slot)
        response = self._responses.get(path.pk) if path else None
        if row is None or row.state != QuestionState.READY:
            return "the question does not leave now"
        if path is None or response is None:
            return "the question keeps no such record now"
        if path.pk in self._excluded:
            return "a person excluded the record since"
        hash_now = content_hash(self._question, cot=path.text, response=response.text)
        if hash_now == bytes(record.content).hex():
            return "same" if row.tier == record.tier else f"the same text, but the tier is {row.tier} now"
        if row.tier != record.tier:
            return f"the tier is {row.tier} now"
        if path.pk != record.path_id:
            return "another path is kept now, or it was rewritten again"
        return "the response was written again" if response.pk != record.response_id else "the question’s text changed"
