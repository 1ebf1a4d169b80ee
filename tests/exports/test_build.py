"""What an export folder holds, and what never gets into one."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from apps.exports.build import Limits, build_export
from apps.exports.errors import LedgerBrokenError
from apps.exports.lineage import read_pages
from apps.exports.records import VARIANTS
from apps.pipeline.models import Call
from apps.questions.models import Question
from apps.reasoning.models import PathLabel, RankScore, ReasoningPath, Response, RunQuestion, Selection, Verdict
from tests.factories import (
    make_call,
    make_finished_run,
    make_question,
    make_run,
    make_run_question,
    make_user,
    make_verdict,
)

pytestmark = pytest.mark.django_db


def export(run, out: Path, *, variants=VARIANTS, format="jsonl", **kwargs):
    return build_export(run=run, variants=variants, format=format, out_dir=out, **kwargs)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_holds_what_its_manifest_says(tmp_path):
    run = make_finished_run(8)

    manifest = export(run, tmp_path / "out")

    folder = tmp_path / "out"
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    beside = {"README.md", "manifest.json", "CITATION.cff", "dataset_info.json", "croissant.json"}
    assert {p.name for p in folder.iterdir()} == {f["path"] for f in manifest["files"]} | beside
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    for file in [*manifest["files"], *manifest["extras"], manifest["card"]]:
        data = (folder / file["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert len(data) == file["bytes"]
    assert all(f["records"] == manifest["records"] == len(rows(folder / f["path"])) for f in manifest["files"])
    assert manifest["records"] == sum(RunQuestion.objects.values_list("records", flat=True))
    assert (manifest["run"], manifest["held_out"]) == (run.name, False)


def test_the_three_sets_hold_the_same_records_in_the_same_order(tmp_path):
    run = make_finished_run(8)

    export(run, tmp_path / "out")

    reason, cot, response, trail = (rows(tmp_path / "out" / f"{n}.jsonl") for n in (*VARIANTS, "provenance"))
    assert [r["output"] for r in reason] == [
        f"<think>{c['output']}</think>{s['output']}" for c, s in zip(cot, response, strict=True)
    ]
    assert [r["instruction"] for r in reason] == [c["instruction"] for c in cot] == [s["instruction"] for s in response]
    asked = Question.objects.in_bulk([t["question"] for t in trail], field_name="uid")
    assert [asked[t["question"]].pk for t in trail] == sorted(asked[t["question"]].pk for t in trail)
    for record, line in zip(cot, trail, strict=True):
        assert record["output"] == ReasoningPath.objects.get(pk=line["path"]["id"]).text
        assert record["instruction"].startswith(asked[line["question"]].stem)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_building_again_gives_the_same_bytes(tmp_path, format):
    run = make_finished_run(7)

    first = export(run, tmp_path / "a", format=format)
    again = export(run, tmp_path / "b", format=format, limits=Limits(page=2))
    over = export(run, tmp_path / "a", format=format)

    assert first == again == over
    contents = [{p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("a", "b")]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_datasets_reads_it(tmp_path, format, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    manifest = export(make_finished_run(8), tmp_path / "out", format=format, limits=Limits(shard_bytes=400))

    loaded = {
        v: load_dataset(str(tmp_path / "out"), v, split="train", cache_dir=str(tmp_path / "cache")) for v in VARIANTS
    }

    assert {v: d.num_rows for v, d in loaded.items()} == dict.fromkeys(VARIANTS, manifest["records"])
    assert loaded["reasonmed"].column_names == ["instruction", "input", "output"]
    assert loaded["reasonmed"][0]["output"].startswith("<think>")
    assert loaded["cotmed"]["instruction"] == loaded["responsemed"]["instruction"]


def test_parquet_shards_are_numbered_to_their_end_and_hold_the_jsonl_rows(tmp_path):
    run = make_finished_run(8)
    export(run, tmp_path / "j", variants=("cotmed",))
    manifest = export(run, tmp_path / "p", variants=("cotmed",), format="parquet", limits=Limits(shard_bytes=400))

    shards = [f["path"] for f in manifest["files"] if f["path"].endswith(".parquet")]
    assert len(shards) > 2
    assert shards == [f"cotmed-{n:05}-of-{len(shards):05}.parquet" for n in range(len(shards))]
    read = [row for name in shards for row in pq.read_table(tmp_path / "p" / name).to_pylist()]
    assert read == rows(tmp_path / "j" / "cotmed.jsonl")
    assert pq.ParquetFile(tmp_path / "p" / shards[0]).metadata.row_group(0).column(0).compression == "ZSTD"


def test_every_question_is_exported_excluded_or_waiting(tmp_path):
    run = make_finished_run(3)
    make_run_question(run, make_question(), state="waiting", reason="disputed")
    make_run_question(run, make_question(), state="waiting", reason="rank")
    make_run_question(run, make_question(), state="excluded", reason="no_path_left")

    manifest = export(run, tmp_path / "out")

    assert manifest["questions"] == {"total": 6, "exported": 3, "excluded": 1, "waiting": 2}
    assert manifest["waiting"] == {"disputed": 1, "rank": 1}
    assert manifest["excluded"] == {"no_path_left": 1}


def test_a_run_with_nothing_ready_gives_an_empty_export(tmp_path):
    run = make_finished_run(0)
    make_run_question(run, make_question(), state="waiting", reason="rank")

    manifest = export(run, tmp_path / "out", format="parquet")

    assert (manifest["records"], manifest["simulated"]) == (0, False)
    assert [f["records"] for f in manifest["files"]] == [0, 0, 0, 0]


def test_held_out_questions_stay_unless_the_run_allows_them(tmp_path):
    run = make_finished_run(3)
    first = run.questions.order_by("question_id").first()
    Question.objects.filter(pk=first.question_id).update(held_out=True)

    refused = export(run, tmp_path / "a")
    run.allow_held_out = True
    allowed = export(run, tmp_path / "b")

    assert refused["excluded"] == {"held_out": 1}
    assert (refused["held_out"], refused["records"], refused["questions"]["exported"]) == (
        False,
        allowed["records"] - 2,
        2,
    )
    assert (allowed["held_out"], allowed["held_out_records"], allowed["excluded"]) == (True, 2, {})
    assert "**Held out.**" in (tmp_path / "b" / "README.md").read_text()


def test_an_exported_question_that_stands_in_a_held_out_set_is_told(tmp_path):
    run = make_finished_run(3)
    exact, stem, _ = Question.objects.filter(in_runs__run=run).order_by("id")
    make_question(held_out=True, fingerprint=exact.fingerprint, stem_fingerprint=exact.stem_fingerprint)
    make_question(held_out=True, stem_fingerprint=stem.stem_fingerprint)

    manifest = export(run, tmp_path / "out")

    assert manifest["held_out_overlap"] == {"exact": 1, "same_stem": 1}


@pytest.mark.parametrize("stage", ["generate", "verify", "rank", "summarise", "refine", "regenerate", "reverify"])
def test_one_simulated_call_anywhere_in_the_lineage_makes_the_export_simulated(tmp_path, stage):
    run = make_finished_run(8)
    Call.objects.filter(run=run).exclude(stage=stage).update(simulated=False)
    if stage == "rank":
        score = RankScore.objects.filter(run=run).first()
        score.call = make_call(run, score.path.question, "rank")
        score.save()

    manifest = export(run, tmp_path / "out")

    assert manifest["simulated"] is True
    assert set(manifest["simulated_by_stage"]) == {stage}
    assert 0 < manifest["simulated_by_stage"][stage] == manifest["simulated_records"] <= manifest["records"]
    assert "**Simulated.**" in (tmp_path / "out" / "README.md").read_text()


def test_no_simulated_call_no_notice(tmp_path):
    run = make_finished_run(8)
    Call.objects.filter(run=run).update(simulated=False)

    manifest = export(run, tmp_path / "out")

    assert (manifest["simulated"], manifest["simulated_records"], manifest["simulated_by_stage"]) == (False, 0, {})
    assert "**Simulated.**" not in (tmp_path / "out" / "README.md").read_text()


def test_the_way_back_from_a_record(tmp_path):
    run = make_finished_run(5)
    export(run, tmp_path / "out")

    refined = next(t for t in rows(tmp_path / "out" / "provenance.jsonl") if t["path"]["origin"] == "refined")

    path = ReasoningPath.objects.get(pk=refined["path"]["id"])
    assert refined["parent"]["id"] == path.parent_id
    assert refined["parent"]["temperature"] == path.parent.temperature
    assert refined["path"]["call"] == str(path.call_id)
    assert refined["path"]["prompt"] == path.call.prompt
    assert {v["path"] for v in refined["verdicts"]} == {path.pk, path.parent_id}
    assert len(refined["tier_verdicts"]) == 9
    assert str(Response.objects.get(path=path).call_id) in refined["calls"]
    assert Call.objects.filter(pk__in=refined["calls"], run=run, question=path.question).count() == len(
        refined["calls"]
    )


def test_a_run_that_judges_imported_paths_of_another(tmp_path):
    lab = make_finished_run(5)
    run = make_run(name="judges", state="finished", paths_from=lab)
    for model in (RunQuestion, Verdict, PathLabel, RankScore, Selection, Response):
        model.objects.filter(run=lab).update(run=run)
    ReasoningPath.objects.filter(run=lab, origin__in=("refined", "regenerated")).update(run=run)
    ReasoningPath.objects.filter(run=lab).update(origin="imported", call=None, model="lab-model")

    manifest = export(run, tmp_path / "out")

    assert manifest["paths_from"]["run"] == lab.name
    assert [t["path"]["id"] for t in rows(tmp_path / "out" / "provenance.jsonl") if t["path"]["origin"] == "imported"]
    wrote = [m for m in manifest["models"] if m["stage"] in ("import", "generate")]
    assert [(m["stage"], m["model"], m["terms"]) for m in wrote] == [("import", "lab-model", "not recorded")]
    assert any("lab-model" in warning for warning in manifest["warnings"])
    assert "generate" not in manifest["simulated_by_stage"]


def test_people_leave_under_a_pseudonym(tmp_path):
    run = make_finished_run(1)
    person = make_user(username="dr.lindqvist")
    make_verdict(Selection.objects.filter(run=run).first().path, reviewer=person)

    export(run, tmp_path / "out")

    text = "".join(p.read_text() for p in (tmp_path / "out").iterdir())
    assert re.search(r'"by":"reviewer-[0-9a-f]{12}"', text)
    assert "lindqvist" not in text


def test_where_servers_stand_and_keys_are_kept_does_not_leave(tmp_path):
    run = make_finished_run(1)
    run.config["endpoints"][0] |= {"base_url": "http://10.1.2.3:8000/v1", "api_key_env": "LAB_KEY"}
    run.save()

    export(run, tmp_path / "out")

    text = "".join(p.read_text() for p in (tmp_path / "out").iterdir())
    assert "10.1.2.3" not in text
    assert "LAB_KEY" not in text


def judged_error(kept):
    PathLabel.objects.filter(path=kept.path).update(label="error")


def not_judged(kept):
    PathLabel.objects.filter(path=kept.path).delete()


def disputed(kept):
    PathLabel.objects.filter(path=kept.path).update(disputed=True)


def answers_something_else(kept):
    Response.objects.filter(path=kept.path).update(answer="A")


def answers_nothing(kept):
    Response.objects.filter(path=kept.path).update(answer="")


def no_response(kept):
    Response.objects.filter(path=kept.path).update(current=False)


def replaced(kept):
    ReasoningPath.objects.filter(pk=kept.path_id).update(current=False)


def without_text(kept):
    ReasoningPath.objects.filter(pk=kept.path_id).update(text="<think></think>")


def slot_empty(kept):
    Selection.objects.filter(pk=kept.pk).update(path=None)


def slot_gone(kept):
    Selection.objects.filter(pk=kept.pk).update(current=False)


@pytest.mark.parametrize(
    "change",
    [
        judged_error, not_judged, disputed, answers_something_else, answers_nothing,
        no_response, replaced, without_text, slot_empty, slot_gone,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
@pytest.mark.parametrize("origin", ["generated", "refined"])
def test_a_broken_rule_stops_the_export_and_leaves_nothing(tmp_path, change, origin):
    run = make_finished_run(5)
    kept = Selection.objects.filter(run=run, path__origin=origin).last()
    change(kept)

    with pytest.raises(LedgerBrokenError, match=kept.question.uid):
        export(run, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_a_card_cannot_be_bent_by_names(tmp_path):
    run = make_finished_run(2, name='x"\nconfigs: [] | <script>alert(1)</script>')

    export(run, tmp_path / "out")

    card = (tmp_path / "out" / "README.md").read_text()
    assert "<script>" not in card.split("---")[2]
    loaded = load_dataset(str(tmp_path / "out"), "cotmed", split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows > 0


def test_a_page_takes_a_fixed_number_of_queries(django_assert_num_queries):
    run = make_finished_run(8)

    with django_assert_num_queries(7):
        assert sum(len(page) for page in read_pages(run, page=50)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_records(tmp_path, format, monkeypatch):
    run = make_finished_run(8)
    page = next(read_pages(run))
    for asked in page:
        for kept in asked.kept:
            kept.path = kept.path._replace(text=kept.path.text * 20)
    for held in ("BATCH_BYTES", "ROW_GROUP_BYTES"):
        monkeypatch.setattr(f"apps.exports.writers.{held}", 50_000)

    def peak(pages: int) -> int:
        monkeypatch.setattr("apps.exports.journal.bounds_of", lambda run, *, page: ((n, n + 1) for n in range(pages)))
        monkeypatch.setattr("apps.exports.making.maker.read_page", lambda run, *, after, upto: page)
        tracemalloc.start()
        try:
            manifest = export(run, tmp_path / f"{format}{pages}", format=format)
            assert manifest["records"] == pages * sum(len(a.kept) for a in page)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    assert peak(220) < peak(22) + 300_000
