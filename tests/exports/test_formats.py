"""Packed forms of the sets: same lines, same root, same bytes when built again, read by the tools of the field."""

from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest
from datasets import load_dataset

from apps.exports.build import build_export
from apps.exports.records import VARIANTS
from reasonmed_verify.checks import check_folder
from tests.factories import make_finished_run

pytestmark = pytest.mark.django_db
PACKED = ["jsonl.gz", "jsonl.zst"]


def export(run, out, format):
    return build_export(run=run, variants=VARIANTS, format=format, out_dir=out)


@pytest.mark.parametrize("format", PACKED)
def test_packed_files_hold_the_plain_lines_and_are_the_same_bytes_again(tmp_path, format):
    run = make_finished_run(5)

    plain = export(run, tmp_path / "plain", "jsonl")
    first, again = (export(run, tmp_path / name, format) for name in "ab")

    assert first == again
    assert first["merkle"]["root"] == plain["merkle"]["root"]
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert a == b
    assert {f"{v}.{format}" for v in VARIANTS} < a.keys()
    assert {f.kind for f in check_folder(tmp_path / "a")} == {"ok", "note"}
    lines = [json.loads(line) for line in (tmp_path / "plain" / "cotmed.jsonl").read_text().splitlines()]
    assert pd.read_json(tmp_path / "a" / f"cotmed.{format}", lines=True).to_dict("records") == lines


@pytest.mark.parametrize("format", PACKED)
def test_datasets_reads_packed_files_by_the_card(tmp_path, format, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    manifest = export(make_finished_run(3), tmp_path / "out", format)

    loaded = load_dataset(str(tmp_path / "out"), "cotmed", split="train", cache_dir=str(tmp_path / "cache"))

    assert loaded.num_rows == manifest["records"] > 0


def test_a_gzip_file_names_no_time_and_no_place(tmp_path):
    export(make_finished_run(1), tmp_path / "out", "jsonl.gz")

    head = (tmp_path / "out" / "cotmed.jsonl.gz").read_bytes()[:10]
    assert (head[3], head[4:8]) == (0, bytes(4))
    assert gzip.decompress((tmp_path / "out" / "cotmed.jsonl.gz").read_bytes()).endswith(b"}\n")


@pytest.mark.parametrize("format", PACKED)
def test_a_changed_byte_of_a_packed_file_is_found(tmp_path, format):
    export(make_finished_run(1), tmp_path / "out", format)
    path = tmp_path / "out" / f"cotmed.{format}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    assert any(f.kind == "problem" and "was changed" in f.text for f in check_folder(tmp_path / "out"))
