"""What stands beside the sets: card, CITATION.cff, dataset_info.json, croissant.json."""

from __future__ import annotations

import gzip
import hashlib
import json
import re

import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from mlcroissant import Dataset as Croissant

from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig
from apps.exports.forms.citation import cite_as, yaml_text
from apps.exports.records import VARIANTS
from apps.reasoning.models import Label
from tests.exports.loaders import is_conversational, load_as_llama_factory, load_as_trl
from tests.exports.test_forms import errors_of, judged_by_person
from tests.factories import make_finished_run, make_user, make_verdict

FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def export(run, out, *, format="jsonl", forms=("messages", "preferences", "steps")):
    config, limits = ExportConfig(forms=forms, system_prompt="Be careful."), Limits(shard_bytes=2_000)
    return build_export(run=run, variants=VARIANTS, format=format, out_dir=out, config=config, limits=limits)


def make_marked_run(n=8):
    run = make_finished_run(n)
    judged_by_person(run, errors_of(run)[0], Label.ERROR, sentences=[2])
    return run


# --- the card


@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_the_card_names_files_and_splits_of_every_set(tmp_path, format):
    manifest = export(make_marked_run(), tmp_path / "x", format=format)

    front = yaml.safe_load((tmp_path / "x" / "README.md").read_text().split("---\n")[1])

    configs = {c["config_name"]: c["data_files"] for c in front["configs"]}
    assert list(configs) == [*VARIANTS, "messages", "preferences", "steps"]
    assert [c.get("default") for c in front["configs"]] == [True, None, None, None, None, None]
    files = {s["set"]: set(s["files"]) for s in manifest["merkle"]["sets"]}
    for name, [found] in configs.items():
        assert found["split"] == "train"
        assert {p.name for p in (tmp_path / "x").glob(found["path"])} == files[name]
    assert front["size_categories"] == ["n<1K"]


@pytest.mark.django_db
def test_the_card_has_the_root_and_how_to_check_and_cite_it(tmp_path):
    manifest = export(make_marked_run(), tmp_path / "x")

    card = (tmp_path / "x" / "README.md").read_text()

    assert manifest["merkle"]["root"] in card
    assert "reasonmed-verify path/to/this/folder" in card
    assert "The manifest is not signed" in card
    assert cite_as(manifest) in card


@pytest.mark.django_db
def test_without_clinicians_the_card_says_that_nothing_is_known(tmp_path):
    manifest = export(make_finished_run(3), tmp_path / "x")

    assert manifest["quality"]["paths"] == 0
    card = (tmp_path / "x" / "README.md").read_text()
    assert "No clinician has judged paths of this run" in card
    assert "sensitivity" in card


@pytest.mark.django_db
def test_the_card_tells_the_judge_against_clinicians_and_hides_figures_about_few(tmp_path):
    run = make_finished_run(8)
    for path in errors_of(run)[:3]:
        judged_by_person(run, path, Label.ERROR, sentences=[1])
    judged_by_person(run, errors_of(run)[3], Label.CORRECT)

    quality = export(run, tmp_path / "x")["quality"]

    figures = {f["name"]: f for f in quality["judge"]}
    assert (figures["Sensitivity"]["value"], figures["Sensitivity"]["n"]) == (1.0, 3)
    assert (figures["Specificity"]["value"], figures["Specificity"]["n"]) == (0.0, 1)
    card = (tmp_path / "x" / "README.md").read_text()
    assert "| Sensitivity | 100.0\N{NO-BREAK SPACE}% |" in card
    assert quality["agreement"] == []
    assert "How far clinicians agree: fewer than 5 people judged" in card


@pytest.mark.django_db
def test_from_five_people_on_the_card_tells_how_far_they_agree(tmp_path):
    run = make_finished_run(8)
    people = [make_user("clinician") for _ in range(5)]
    for path in errors_of(run)[:4]:
        for person in people:
            make_verdict(path, label=Label.ERROR, reviewer=person, project=run.project)

    quality = export(run, tmp_path / "x")["quality"]

    assert quality["agreement"][0]["name"] == "Raw agreement"
    assert quality["agreement"][0]["value"] == 1.0
    assert "Clinicians among themselves" in (tmp_path / "x" / "README.md").read_text()


# --- CITATION.cff


@pytest.mark.django_db
def test_the_citation_is_what_the_format_asks_for(tmp_path):
    manifest = export(make_marked_run(), tmp_path / "x")

    cited = yaml.safe_load((tmp_path / "x" / "CITATION.cff").read_text())

    assert {"cff-version", "message", "title", "authors"} <= cited.keys()  # required by 1.2.0
    known = {"cff-version", "message", "type", "title", "abstract", "authors", "keywords", "identifiers", "references"}
    assert cited.keys() <= known
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "dataset")
    assert cited["authors"] == [{"name": manifest["publisher"]}] == [{"name": "Default project"}]
    [identifier] = cited["identifiers"]
    assert (identifier["type"], identifier["value"]) == ("other", manifest["merkle"]["root"])
    for reference in cited["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all("name" in a or {"family-names", "given-names"} <= a.keys() for a in reference["authors"])


@pytest.mark.django_db
def test_who_publishes_may_be_set(tmp_path, settings):
    settings.PUBLISHER = "University Hospital: “Ward 7”"

    export(make_finished_run(1), tmp_path / "x")

    assert yaml.safe_load((tmp_path / "x" / "CITATION.cff").read_text())["authors"] == [
        {"name": "University Hospital: “Ward 7”"}
    ]


@pytest.mark.parametrize("text", ['a"b', "a: [b]", "😀", "tab\there", "back\\slash", "line\nend", "# no comment", "~"])
def test_any_text_is_one_value_of_yaml(text):
    assert yaml.safe_load(f"title: {yaml_text(text)}")["title"] == re.sub(r"[\t\n]", " ", text)


def test_a_name_cannot_leave_its_place_in_bibtex():
    manifest = {"run": "x}},\n```\n# <b>", "publisher": "@y{", "records": 1, "merkle": {"root": "ab"}}

    said = cite_as(manifest)

    assert "```" not in said
    assert (said.count("{"), said.count("}")) == (6, 6)


# --- LLaMA-Factory


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_llama_factory_finds_every_set_it_can_train_on(tmp_path, format):
    manifest = export(make_marked_run(), tmp_path / "x", format=format)

    info = json.loads((tmp_path / "x" / "dataset_info.json").read_text())

    counts = {s["set"]: s["records"] for s in manifest["merkle"]["sets"]}
    assert list(info) == [*VARIANTS, "messages", "preferences"]
    for name in info:
        examples = load_as_llama_factory(tmp_path / "x", name, cache=tmp_path / "cache")
        assert len(examples) == counts[name] > 0
        assert all(e["_prompt"][0]["content"] and all(r["content"] for r in e["_response"]) for e in examples)
    assert {e["_system"] for e in load_as_llama_factory(tmp_path / "x", "messages", cache=tmp_path / "cache")} == {
        "Be careful."
    }


# --- TRL


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_each_form_is_of_a_type_that_trl_knows(tmp_path, format):
    manifest = export(make_marked_run(), folder := tmp_path / "x", format=format)
    counts = {s["set"]: s["records"] for s in manifest["merkle"]["sets"]}

    for name, kind in (
        ("messages", "conversational language modeling"),
        ("preferences", "standard preference with an explicit prompt"),
        ("steps", "stepwise supervision"),
    ):
        found, rows = load_as_trl(folder, name, cache=tmp_path / "cache")
        assert (found, len(rows)) == (kind, counts[name])
    turns = {"prompt": [{"role": "user", "content": "Q"}], "chosen": [], "rejected": []}
    assert is_conversational(turns)  # the control: pairs once they are given turns


# --- Croissant


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_croissant_describes_every_set(tmp_path, format):
    manifest = export(make_marked_run(), tmp_path / "x", format=format)

    described = Croissant(tmp_path / "x" / "croissant.json")

    assert not described.metadata.ctx.issues.errors
    assert [r.name for r in described.metadata.record_sets] == [*VARIANTS, "messages", "preferences", "steps"]
    files = {f["path"]: f["sha256"] for f in manifest["files"]}
    told = {d.content_url: d.sha256 for d in described.metadata.distribution if hasattr(d, "sha256")}
    assert told == files


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_croissant_reads_the_records(tmp_path, format):
    manifest = export(make_marked_run(), tmp_path / "x", format=format)

    described = Croissant(tmp_path / "x" / "croissant.json")

    counts = {s["set"]: s["records"] for s in manifest["merkle"]["sets"]}
    for name in (*VARIANTS, "messages", "preferences", "steps"):
        assert len(list(described.records(name))) == counts[name]
    turns, cot = next(iter(described.records("messages"))), next(iter(described.records("reasonmed")))
    assert [turn["messages/messages/role"] for turn in turns["messages/messages"]] == [b"system", b"user", b"assistant"]
    assert turns["messages/messages"][2]["messages/messages/content"] == cot["reasonmed/output"]
    steps = next(iter(described.records("steps")))
    assert len(steps["steps/completions"]) == len(steps["steps/labels"]) > 1


@pytest.mark.django_db
@pytest.mark.parametrize("format", FORMATS)
def test_croissant_has_the_shape_that_the_standard_asks_for(tmp_path, format):
    """Without its library: every field's source is a file or a set of files that is there, with a column that is there."""
    export(make_marked_run(), folder := tmp_path / "x", format=format)

    said = json.loads((folder / "croissant.json").read_text())

    assert (said["@type"], said["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert {"@context", "name", "description", "license", "creator", "citeAs", "version"} <= said.keys()
    there = {d["@id"]: d for d in said["distribution"]}
    assert len(there) == len(said["distribution"])
    for one in there.values():
        if one["@type"] == "cr:FileObject":
            path = folder / one["contentUrl"]
            assert one["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert one["contentSize"] == f"{path.stat().st_size} B"
        else:
            assert (one["@type"], bool(list(folder.glob(one["includes"])))) == ("cr:FileSet", True)
    fields = [(r["name"], f) for r in said["recordSet"] for f in r["field"]]
    ids = [one["@id"] for _, f in fields for one in (f, *f.get("subField", ()))]
    assert len(set(ids)) == len(ids)
    for name, field in fields:
        for one in field.get("subField", [field]):
            (of,) = [one["source"].get(kind) for kind in ("fileObject", "fileSet") if kind in one["source"]]
            assert of["@id"] in there
            assert one["source"]["extract"]["column"] in columns_of(folder, name)
            assert one["dataType"] in ("sc:Text", "sc:Boolean")


def columns_of(folder, name) -> list[str]:
    """As in the first row of the first file."""
    file = min(folder.glob(f"{name}[.-]*"))
    if file.suffix == ".parquet":
        return list(pq.read_schema(file).names)
    if file.suffix == ".zst":
        return list(json.loads(zstandard.ZstdDecompressor().stream_reader(file.open("rb")).read().splitlines()[0]))
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return list(json.loads(data.splitlines()[0]))


@pytest.mark.django_db
def test_sets_without_a_record_are_not_described(tmp_path):
    export(make_finished_run(1), tmp_path / "x")  # no Error, nobody judged

    described = json.loads((tmp_path / "x" / "croissant.json").read_text())

    assert [r["name"] for r in described["recordSet"]] == [*VARIANTS, "messages"]
    assert list(json.loads((tmp_path / "x" / "dataset_info.json").read_text())) == [*VARIANTS, "messages"]
