"""What an export's page offers to copy does what it says."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.urls import reverse

from apps.exports.build import Limits, build_export
from apps.exports.config import ExportConfig
from apps.exports.forms.snippets import snippets_of
from apps.exports.models_downloads import Download
from apps.exports.records import VARIANTS
from apps.exports.services import build_queued_exports, create_export, folder_of
from tests.factories import make_finished_run, make_user

pytestmark = pytest.mark.django_db
FORMATS = ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]


def snippets(manifest, folder="./x"):
    files = [*manifest["files"], *manifest["extras"], manifest["card"]]
    made = snippets_of(manifest, folder=folder, files=files, base="http://h", cookie="sessionid")
    return {s.name: s.code for s in made}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "x"


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_python_to_copy_loads_every_record(folder, format, capsys):
    manifest = build_export(
        run=make_finished_run(6), variants=VARIANTS, format=format, out_dir=folder, limits=Limits(shard_bytes=2_000)
    )
    found = snippets(manifest)

    for name in ("datasets", "pandas", "polars"):
        exec(found[name], {})
        assert capsys.readouterr().out.split()[-1:] == [str(manifest["records"])], name


def test_commands_to_copy_check_every_file(folder):
    manifest = build_export(run=make_finished_run(2), variants=VARIANTS, format="jsonl", out_dir=folder)
    check = snippets(manifest)["check"].replace("reasonmed-verify", "true")

    good = subprocess.run(["sh", "-c", check], cwd=folder, capture_output=True, text=True)
    (folder / "CITATION.cff").write_text("other")
    bad = subprocess.run(["sh", "-c", check], cwd=folder, capture_output=True, text=True)

    assert (good.returncode, good.stdout.count(": OK")) == (0, len(list(folder.iterdir())) - 1)
    assert bad.returncode != 0
    assert "CITATION.cff: FAILED" in bad.stdout


def test_llama_factory_is_told_the_first_set(folder):
    config = ExportConfig(forms=("messages",))
    manifest = build_export(
        run=make_finished_run(2), variants=["cotmed"], format="jsonl", out_dir=folder, config=config
    )

    assert snippets(manifest)["llama-factory"] == "dataset_dir: ./x\ndataset: cotmed"


def test_an_export_without_records_offers_to_fetch_and_check_alone():
    manifest = {
        "format": "jsonl",
        "merkle": {"sets": []},
        "files": [],
        "extras": [],
        "card": {"path": "R", "sha256": "0"},
    }

    assert set(snippets(manifest)) == {"fetch", "check"}


def test_the_page_offers_each_with_a_button_and_curl_fetches_all_files(client, settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    client.force_login(make_user("clinician"))

    page = client.get(reverse("export", args=(made.pk,))).content.decode()

    for name in ("fetch", "check", "datasets", "pandas", "polars", "llama-factory"):
        assert f'id="{name}-code"' in page
        assert f'data-copy="{name}-code" hidden' in page
    fetch = page.split('id="fetch-code"')[1].split("</pre>")[0]
    base = re.search(r"base=http://testserver(\S+)", fetch).group(1)
    names = re.search(r"for file in \\\n(.*?)\ndo", fetch, re.DOTALL).group(1).replace("\\", "").split()
    assert names == [
        "cotmed.jsonl", "provenance.jsonl", "CITATION.cff", "dataset_info.json", "croissant.json", "README.md",
        "manifest.json",
    ]  # fmt: skip
    assert {client.get(f"{base}/{name}").status_code for name in names} == {200}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_curl_as_it_is_copied_fetches_goes_on_and_passes_the_check(client, settings, tmp_path, live_server):
    settings.EXPORT_DIR = tmp_path / "exports"
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    client.force_login(make_user("clinician"))
    page = client.get(reverse("export", args=(made.pk,)), headers={"Host": live_server.url.removeprefix("http://")})
    code = {n: html.unescape(page.content.decode().split(f'id="{n}-code"')[1].split(">", 1)[1].split("</pre>")[0])
            for n in ("fetch", "check")}  # fmt: skip
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    made.refresh_from_db()
    folder, source = tmp_path / str(made), folder_of(made)

    def sh(command: str, cwd: Path) -> None:
        found = {"SESSION": session, "PYTHONPATH": str(settings.BASE_DIR)}  # reasonmed_verify without installing it
        subprocess.run(["sh", "-ec", command], cwd=cwd, env={**os.environ, **found}, check=True)

    sh(code["fetch"], tmp_path)
    whole = (folder / "cotmed.jsonl").read_bytes()
    (folder / "cotmed.jsonl").unlink()
    (folder / "cotmed.jsonl.part").write_bytes(whole[:100])
    sh(code["fetch"], tmp_path)
    sh(code["check"].replace("reasonmed-verify", f"{sys.executable} -m reasonmed_verify"), folder)

    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in source.iterdir()}
    assert 100 in set(Download.objects.filter(file="cotmed.jsonl").values_list("start", flat=True))
