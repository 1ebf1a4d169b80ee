"""`export_dataset`: what it prints, where, and how it ends."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from apps.reasoning.models import PathLabel
from tests.factories import make_finished_run, make_project

pytestmark = pytest.mark.django_db


def test_json_is_the_manifest_and_nothing_else_on_standard_output(tmp_path, capsys):
    run = make_finished_run(3)

    call_command(
        "export_dataset", run.name, "--variant", "all", "--format", "parquet", "--out", str(tmp_path / "x"), "--json"
    )

    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "x" / "manifest.json").read_text())


def test_one_set_gives_one_file(tmp_path, capsys):
    run = make_finished_run(3)

    call_command("export_dataset", run.name, "--variant", "cotmed", "--out", str(tmp_path / "x"))

    assert {p.name for p in (tmp_path / "x").iterdir()} == {
        "cotmed.jsonl",
        "provenance.jsonl",
        "README.md",
        "CITATION.cff",
        "dataset_info.json",
        "croissant.json",
        "manifest.json",
    }
    assert "3 in the run" in capsys.readouterr().out


def test_what_is_chosen_is_what_is_written(tmp_path, capsys):
    run = make_finished_run(8)
    chosen = ["--labels", "judge", "--tier", "easy", "--tier", "medium", "--benchmark", "medqa", "--duplicates", "out"]

    call_command("export_dataset", run.name, *chosen, "--out", str(tmp_path / "x"), "--json")

    manifest = json.loads(capsys.readouterr().out)
    assert manifest["choices"]["tiers"] == ["easy", "medium"]
    assert (manifest["choices"]["labels"], manifest["choices"]["duplicates"]) == ("judge", "out")
    assert manifest["excluded"]["benchmark_not_chosen"] == 6


def refused(*args: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        call_command("export_dataset", *args)
    return caught.value


def test_a_run_that_is_not_there_is_refused(tmp_path):
    make_project()

    error = refused("nobody", "--out", str(tmp_path / "x"))

    assert error.returncode == 2
    assert "'nobody'" in str(error)


def test_a_folder_with_something_else_in_it_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")

    error = refused(make_finished_run(1).name, "--out", str(tmp_path))

    assert error.returncode == 2
    assert "is not empty" in str(error)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_broken_ledger_ends_with_1_and_writes_nothing(tmp_path):
    run = make_finished_run(1)
    PathLabel.objects.filter(run=run).update(disputed=True)

    error = refused(run.name, "--out", str(tmp_path / "x"))

    assert error.returncode == 1
    assert "check_ledger" in str(error)
    assert list(tmp_path.iterdir()) == []
