"""What people decided about records, where records leave: counted, left out, and asked for before an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.build import build_export
from apps.exports.errors import ExportRefusedError
from apps.exports.models import Snapshot
from apps.exports.preview import preview_export
from apps.exports.provenance import pseudonym
from apps.exports.services import create_export
from apps.pipeline.config import ConfigError, parse_config
from apps.reasoning.models import Response, Run, RunQuestion, Selection
from apps.review.records.decisions import accept_record, exclude_record, read_record
from apps.review.records.overrides import override_response
from apps.review.records.rewriting import override_path
from apps.review.records.signoff import SignOff, refusal, sign_offs
from apps.review.services import confirm_remake, follow_questions
from tests.factories import make_finished_run, make_user, make_verdict

HALF_OF_MEDIUM = {"sign_off": {"medium": 0.5}}


@pytest.fixture
def person(db: None) -> User:
    return make_user()


def export(run: Run, folder: Path) -> dict[str, Any]:
    return build_export(run=run, variants=("reasonmed",), format="jsonl", out_dir=folder)


def accept(run: Run, row: RunQuestion, slot: int, person: User) -> None:
    record = read_record(run, row.question, slot)
    assert record
    accept_record(run=run, question=row.question, slot=slot, seen_hash=record.hash, by=person)


def medium(run: Run) -> RunQuestion:
    return run.questions.select_related("question").filter(tier="medium").order_by("pk")[0]


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_an_excluded_record_does_not_leave(tmp_path: Path, person: User) -> None:
    run = make_finished_run(5)
    row = medium(run)
    whole = export(run, tmp_path / "a")
    exclude_record(run=run, question=row.question, slot=1, reason="Cites a withdrawn drug.", by=person)
    manifest = export(run, tmp_path / "b")
    assert manifest["records"] == whole["records"] - 1
    assert (manifest["records_excluded_by_people"], manifest["questions"]) == (1, whole["questions"])
    left = [t for t in lines(tmp_path / "b", "provenance.jsonl") if t["question"] == row.question.uid]
    assert [t["slot"] for t in left] == [2]
    exclude_record(run=run, question=row.question, slot=2, reason="So does this.", by=person)
    manifest = export(run, tmp_path / "c")
    assert manifest["excluded"]["record_excluded"] == 1
    assert manifest["records"] == whole["records"] - 2


def test_an_acceptance_leaves_under_a_pseudonym_and_twice_the_same_bytes(tmp_path: Path, person: User) -> None:
    run = make_finished_run(5)
    accept(run, medium(run), 1, person)
    manifest = export(run, tmp_path / "a")
    assert export(run, tmp_path / "b") == manifest
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    signed = [t["signed_off"] for t in lines(tmp_path / "a", "provenance.jsonl") if t["signed_off"]]
    assert len(signed) == manifest["signed_off_records"] == 1
    assert signed[0].startswith("reviewer-")


def test_an_export_waits_until_enough_is_signed_off(tmp_path: Path, person: User) -> None:
    run = make_finished_run(5, config=HALF_OF_MEDIUM)
    for refused in (
        lambda: export(run, tmp_path / "out"),
        lambda: create_export(run=run, variants=["all"], format="jsonl"),
    ):
        with pytest.raises(ExportRefusedError, match="medium: 0 of 3 records are signed off, 2 are needed"):
            refused()
    assert not (tmp_path / "out").exists()
    assert Snapshot.objects.count() == 0
    assert "2 more must be accepted" in preview_export(run).refusal
    for slot in (1, 2):
        accept(run, medium(run), slot, person)
    assert preview_export(run).refusal == ""
    manifest = export(run, tmp_path / "out")
    assert manifest["sign_off"] == {"medium": {"required": 0.5, "records": 3, "signed_off": 2}}
    assert create_export(run=run, variants=["all"], format="jsonl").number == 1


def test_the_trail_names_who_wrote_a_path(tmp_path: Path, person: User) -> None:
    run = make_finished_run(5)
    row = medium(run)
    before = Selection.objects.get(run=run, question=row.question, slot=1, current=True).path
    assert before
    text = f"Potassium first.\n\nAnswer: {row.question.key_letter}. {row.question.key_text}"
    made = override_path(run=run, path=before, text=text, reason="It skips a step.", by=person).made.path
    assert made
    make_verdict(made)
    confirm_remake(run=run, question_ids=[row.question_id], by=person)
    Response.objects.create(run=run, path=made, text=text, answer=row.question.key_letter)
    follow_questions(run, [row.question_id])
    export(run, tmp_path / "out")
    trail = {t["path"]["id"]: t["path"] for t in lines(tmp_path / "out", "provenance.jsonl")}
    assert trail[made.pk]["by"] == pseudonym(person.pk)
    assert {path["by"] for pk, path in trail.items() if pk != made.pk} == {None}
    assert before.pk not in trail


def test_a_record_changed_after_it_was_accepted_counts_no_more(tmp_path: Path, person: User) -> None:
    run = make_finished_run(5, config=HALF_OF_MEDIUM)
    row = medium(run)
    for slot in (1, 2):
        accept(run, row, slot, person)
    path = Selection.objects.get(run=run, question=row.question, slot=1, current=True).path
    text = f"Shorter.\n\nAnswer: {row.question.key_letter}. {row.question.key_text}"
    override_response(run=run, path=path, text=text, reason="Shorter.", by=person)
    with pytest.raises(ExportRefusedError, match="medium: 1 of 3"):
        export(run, tmp_path / "out")
    accept(run, row, 1, person)
    export(run, tmp_path / "out")


def test_the_builder_looks_at_the_content_itself(tmp_path: Path, person: User) -> None:
    """Even a text changed behind everyone's back does not leave as accepted."""
    run = make_finished_run(5, config=HALF_OF_MEDIUM)
    row = medium(run)
    for slot in (1, 2):
        accept(run, row, slot, person)
    Response.objects.filter(run=run, path__question=row.question).update(text="Something else.")
    assert preview_export(run).refusal == ""
    with pytest.raises(ExportRefusedError, match="medium: 0 of 3"):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given_", [{"hard": 0.5}, {"easy": 1.5}, {"easy": -0.1}])
def test_what_is_asked_for_is_checked(given_: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="sign_off"):
        parse_config({"sign_off": given_})


@given(share=st.floats(0, 1), records=st.integers(0, 10_000), signed=st.integers(0, 10_000))
def test_enough_is_signed_off_exactly_when_the_share_is_reached(share: float, records: int, signed: int) -> None:
    found = SignOff("easy", share, records, min(signed, records))
    assert 0 <= found.needed <= records
    assert (found.missing == 0) == (found.signed >= round(share * records, 6))
    assert bool(refusal([found])) == (found.missing > 0)


def test_only_tiers_with_a_requirement_are_told() -> None:
    found = sign_offs({"difficult": 1.0, "easy": 0.0}, records={"easy": 5, "difficult": 3}, signed={})
    assert [(s.tier, s.missing) for s in found] == [("difficult", 3)]
