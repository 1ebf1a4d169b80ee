"""A run of 2,000 questions leaves: loaded by the tools of the field, counted alike everywhere, the same again, checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.json as pajson
import pytest
from datasets import load_dataset
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from apps.exports.config import ExportConfig
from apps.exports.models import Snapshot
from apps.exports.records import VARIANTS
from apps.exports.services import build_queued_exports, create_export, folder_of
from apps.questions.access import ROLES
from apps.reasoning.models import Label, PathLabel, QuestionState, Run, RunQuestion, VerdictSource
from apps.reasoning.sentences import SPLITTER_VERSION
from reasonmed_verify.command import main
from tests.bench.full.fill import fill
from tests.exports.loaders import load_as_llama_factory
from tests.exports.proof_world import ENV, KEY, OTHER
from tests.factories import make_benchmark, make_project, make_user, make_verdict

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
QUESTIONS = 2_000
MARKED = 40
FORMS = ("csv", "messages", "preferences", "steps")


@pytest.fixture
def run(settings, tmp_path, monkeypatch) -> Run:
    settings.EXPORT_DIR = tmp_path / "exports"
    monkeypatch.setenv("REASONMED_SIGNING_KEY", ENV)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    make_project()
    for slug in ("medqa", "medmcqa", "pubmedqa", "mmlu"):
        make_benchmark(slug)
    for role in ROLES:
        Group.objects.get_or_create(name=role)
    made = fill(QUESTIONS)
    mark_sentences(made)
    return made


def mark_sentences(run: Run) -> None:
    """A clinician who counts agrees with the judge on some Errors, and marks a sentence of each."""
    ready = RunQuestion.objects.filter(run=run, state=QuestionState.READY).values("question_id")
    errors = PathLabel.objects.filter(run=run, label=Label.ERROR, source=VerdictSource.JUDGE, question_id__in=ready)
    person = make_user("clinician")
    for label in errors.select_related("path__run").order_by("path_id")[:MARKED]:
        details = {"sentences": [2], "splitter": SPLITTER_VERSION}
        make_verdict(label.path, label=Label.ERROR, reviewer=person, project=run.project, details=details)
        PathLabel.objects.filter(pk=label.pk).update(source=VerdictSource.PERSON)


def build(run: Run, format: str) -> Snapshot:
    made = create_export(run=run, variants=VARIANTS, format=format, config=ExportConfig(forms=FORMS))
    build_queued_exports()
    made.refresh_from_db()
    assert made.state == "done", made.error
    return made


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.sig"}  # it has the time


def counts_of(manifest: dict[str, Any]) -> dict[str, int]:
    return {s["set"]: s["records"] for s in manifest["merkle"]["sets"] if not s["set"].startswith("provenance")}


def rows_by_polars(folder: Path, name: str, format: str) -> int:
    pattern = str(folder / f"{name}-*.parquet") if format == "parquet" else str(folder / f"{name}.{format}")
    return (pl.read_parquet(pattern) if format == "parquet" else pl.read_ndjson(pattern)).height


def rows_by_pyarrow(folder: Path, name: str, format: str) -> int:
    if format == "parquet":
        files = sorted(folder.glob(f"{name}-*.parquet"))
        return pads.dataset(files, format="parquet").to_table().num_rows
    with pa.input_stream(str(folder / f"{name}.{format}")) as file:  # unpacks .gz by its name
        return pajson.read_json(file).num_rows


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_what_leaves_is_loaded_counted_rebuilt_and_checked(run, format, tmp_path, client):
    made, again = build(run, format), build(run, format)
    folder, manifest = folder_of(made), made.manifest
    counts = counts_of(manifest)

    # rebuilt: every file but the signature, which has the time
    assert bytes_of(folder) == bytes_of(folder_of(again))

    # counted alike in the ledger, the manifest, its sets and on the page
    ready = RunQuestion.objects.filter(run=run, state=QuestionState.READY)
    assert manifest["questions"] == {
        "total": QUESTIONS,
        "exported": ready.count(),
        **{s: RunQuestion.objects.filter(run=run, state=s).count() for s in ("excluded", "waiting")},
    }
    assert manifest["records"] == sum(ready.values_list("records", flat=True)) > QUESTIONS
    assert {counts[name] for name in (*VARIANTS, "messages")} == {manifest["records"]}
    assert (counts["steps"], manifest["forms"]["steps"]["wrong_steps"]) == (MARKED, MARKED)
    assert counts["preferences"] > QUESTIONS / 2
    page = page_of(client, made)
    assert f"<b>{manifest['records']:,}</b>" in page
    assert f"{manifest['questions']['exported']:,}" in page

    # loaded by the tools of the field
    for name, n in counts.items():
        loaded = load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert (name, loaded.num_rows) == (name, n)
        assert rows_by_polars(folder, name, format) == n
        assert rows_by_pyarrow(folder, name, format) == n
    for name in json.loads((folder / "dataset_info.json").read_text()):
        assert len(load_as_llama_factory(folder, name, cache=tmp_path / "cache")) == counts[name]

    # checked, and refused once tampered with
    assert main([str(folder), "--key", KEY.public, "--quiet"]) == 0
    for tamper in (changed_byte, dropped_record, swapped_records, forged_signature, further_file):
        copy = tmp_path / tamper.__name__
        shutil.copytree(folder, copy)
        tamper(copy)
        assert (tamper.__name__, main([str(copy), "--key", KEY.public, "--quiet"])) == (tamper.__name__, 1)
        shutil.rmtree(copy)


def page_of(client: Client, made: Snapshot) -> str:
    client.force_login(make_user("clinician"))
    return client.get(reverse("export", args=(made.pk,))).content.decode()


def a_file(folder: Path) -> Path:
    return min(folder.glob("preferences[.-]*"))


def changed_byte(folder: Path) -> None:
    path = a_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewritten(folder: Path, change: Any) -> None:
    path = a_file(folder)
    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
        order = change(list(range(table.height)))
        table[order].write_parquet(path)
    else:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def dropped_record(folder: Path) -> None:
    rewritten(folder, lambda rows: rows[1:])


def swapped_records(folder: Path) -> None:
    rewritten(folder, lambda rows: [rows[1], rows[0], *rows[2:]])


def forged_signature(folder: Path) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sig").write_bytes(OTHER.sign(manifest, file="manifest.json"))


def further_file(folder: Path) -> None:
    (folder / "cotmed-more.jsonl").write_text("{}\n")
