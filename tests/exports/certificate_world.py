"""A signed export with records that people can judge."""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.models import User

from apps.exports.certificate.claims import claim_next
from apps.exports.certificate.judging import RecordJudged, RecordSaid, judge_record
from apps.exports.certificate.opening import open_certification
from apps.exports.certificate.plan import parse_certificate_plan
from apps.exports.models import ExportState, Snapshot, SnapshotRecord
from apps.exports.models_certificate import Certification, SampleClaim
from apps.exports.services import build_queued_exports, create_export
from apps.reasoning.models import Response, Run
from apps.review.records.content import content_hash
from tests.exports.proof_world import ENV, KEY, make_export, save
from tests.factories import make_finished_run, make_path, make_question, make_run

SMALL = {"rate": 0.2, "confidence": 0.8}  # eight records or fewer


def make_candidate(settings, monkeypatch, tmp_path, *, records: int = 10) -> Snapshot:
    """Signed and done, with rows of what it holds; its files are made up."""
    settings.EXPORT_DIR = tmp_path / "exports"
    monkeypatch.setenv("REASONMED_SIGNING_KEY", ENV)
    folder, run = tmp_path / "exports" / uuid4().hex, make_run()
    manifest = make_export(folder, records=records) | {"simulated": False}
    save(folder, manifest, KEY)
    made = Snapshot.objects.create(
        run=run,
        number=1,
        state=ExportState.DONE,
        variants=["reasonmed"],
        format="jsonl",
        folder=folder.name,
        manifest=manifest,
        records=records,
    )
    SnapshotRecord.objects.bulk_create(make_record_row(made, n) for n in range(records))
    return made


def make_record_row(made: Snapshot, number: int) -> SnapshotRecord:
    """Of a new question with one path; tiers and benchmarks take turns."""
    question = make_question(benchmark=("medqa", "mmlu")[number % 2])
    path = make_path(made.run, question)
    response = Response.objects.create(run=made.run, path=path, text=f"Response {number}.", answer="D")
    return SnapshotRecord(
        snapshot=made,
        number=number,
        question=question,
        slot=1,
        path=path,
        response=response,
        tier=("easy", "medium", "difficult")[number % 3],
        overridden=False,
        version=1,
        content=bytes.fromhex(content_hash(question, cot=path.text, response=response.text)),
    )


def build_candidate(settings, monkeypatch, tmp_path, *, variants=("reasonmed",)) -> Snapshot:
    """As a worker builds it, from a run of three questions."""
    settings.EXPORT_DIR = tmp_path / "exports"
    monkeypatch.setenv("REASONMED_SIGNING_KEY", ENV)
    return build_again(make_finished_run(3), variants)


def build_again(run: Run, variants) -> Snapshot:
    made = create_export(run=run, variants=variants, format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    return made


def open_study(snapshot: Snapshot, plan: dict | None = None, **fields) -> Certification:
    fields.setdefault("role", "clinician")
    return open_certification(snapshot=snapshot, plan=parse_certificate_plan(plan or SMALL), **fields)


def say(claim: SampleClaim, *, wrong: bool = False, **fields) -> RecordJudged:
    fields = {"token": claim.token, "idempotency_key": uuid4()} | fields
    said = RecordSaid(wrong=wrong, faults=["wrong_fact"] if wrong else [])
    return judge_record(record=claim.record, reviewer=claim.reviewer, said=said, **fields)


def judge_all(study: Certification, people: list[User], *, wrong: set[int] = frozenset()) -> None:
    """Everyone judges until nothing comes; positions in `wrong` are called wrong by all."""
    for person in people:
        while (claim := claim_next(study=study, reviewer=person)) is not None:
            say(claim, wrong=claim.record.position in wrong)
