"""Published snapshots are pushed by the standard clients: to a hub in a folder, and to a store that moto plays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from django.core.management import CommandError, call_command
from moto import mock_aws

from apps.exports.errors import ExportRefusedError
from apps.exports.models import Snapshot
from apps.exports.publishing import publish_snapshot
from apps.exports.push.checked import pushable
from apps.exports.push.s3 import push_to_s3
from apps.exports.services import build_queued_exports, create_export, folder_of
from apps.pipeline.models import Call
from apps.questions.access import default_project
from reasonmed_verify.checks import check_folder
from tests.exports.hub_double import TOKEN, hub_in
from tests.factories import make_finished_run, make_user

pytestmark = pytest.mark.django_db
NAME = "reasonmed-2026.1"
PUSH = """
import sys
from pathlib import Path
from apps.exports.errors import ExportRefusedError
from apps.exports.push.checked import Pushable
from apps.exports.push.hub import push_to_hub
try:
    print(push_to_hub(Pushable("reasonmed-2026.1", Path(sys.argv[1]), "ab12"), repository=sys.argv[2]))
except ExportRefusedError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture
def snapshot(settings, tmp_path) -> Snapshot:
    settings.EXPORT_DIR = tmp_path / "exports"
    run = make_finished_run(2)
    Call.objects.filter(run=run).update(simulated=False)
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    return publish_snapshot(snapshot=made, name=NAME, by=make_user("curator"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


# --- what may be pushed


def test_a_published_snapshot_may_leave_its_manifest_last(snapshot):
    export = pushable(default_project(), NAME)

    assert export.root == snapshot.manifest["merkle"]["root"]
    assert {p.name for p in export.files} == set(files_of(folder_of(snapshot)))
    assert export.files[-1].name == "manifest.json"


@pytest.mark.parametrize("name", ["reasonmed-2026.2", ""])
def test_what_is_not_published_stays(snapshot, name):
    with pytest.raises(ExportRefusedError, match="No published snapshot"):
        pushable(default_project(), name)


def test_files_that_were_changed_stay(snapshot):
    (folder_of(snapshot) / "cotmed.jsonl").write_text("{}\n")

    with pytest.raises(ExportRefusedError, match="not as they were written"):
        pushable(default_project(), NAME)


# --- a hub, in a process of its own: its client reads the environment when it is imported


def push_to(address: str, folder: Path, home: Path, *, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {
        "HF_ENDPOINT": address,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "reasonmed_site.settings",
    }
    setup = "import django; django.setup()\n"
    return subprocess.run(
        [sys.executable, "-c", setup + PUSH, str(folder), "ward7/reasonmed"], env=env, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_hub_holds_exactly_the_files_of_the_export(snapshot, tmp_path):
    repo = tmp_path / "hub" / "ward7" / "reasonmed"
    repo.mkdir(parents=True)
    (repo / "cotmed-old.jsonl").write_text("{}\n")  # of an earlier export

    with hub_in(tmp_path / "hub") as address:
        done = push_to(address, folder_of(snapshot), tmp_path / "home")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/datasets/ward7/reasonmed/commit/1")
    assert files_of(repo) == files_of(folder_of(snapshot))
    assert {f.kind for f in check_folder(repo)} == {"ok", "note"}
    assert repo.with_suffix(".log").read_text() == f"{NAME}, root ab12\n"


@pytest.mark.slow
def test_a_hub_that_does_not_know_us_is_told_in_its_words(snapshot, tmp_path):
    with hub_in(tmp_path / "hub") as address:
        done = push_to(address, folder_of(snapshot), tmp_path / "home", token="hf_other")

    assert done.returncode == 1
    assert done.stderr.startswith("refused: The hub did not take it: ")
    assert "401" in done.stderr
    assert "hf_other" not in done.stderr


# --- a store


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="sets")
        yield client


def stored(store) -> dict[str, bytes]:
    keys = [found["Key"] for found in store.list_objects_v2(Bucket="sets").get("Contents", ())]
    return {key: store.get_object(Bucket="sets", Key=key)["Body"].read() for key in keys}


@pytest.mark.parametrize(
    ("place", "prefix"), [("sets/2026/one", "2026/one/"), ("sets/2026/one/", "2026/one/"), ("sets", "")]
)
def test_the_store_holds_the_files_below_the_prefix(snapshot, store, capsys, place, prefix):
    call_command("push_export", NAME, "s3", place)

    files = files_of(folder_of(snapshot))
    assert stored(store) == {prefix + name: data for name, data in files.items()}
    assert f"{len(files)} files written, 0 were there already" in capsys.readouterr().out


def test_a_push_that_broke_off_is_taken_up(snapshot, store):
    export = pushable(default_project(), NAME)
    push_to_s3(export, bucket="sets", prefix="x/")
    store.delete_object(Bucket="sets", Key="x/manifest.json")
    store.put_object(Bucket="sets", Key="x/cotmed.jsonl", Body=b"half")

    assert push_to_s3(export, bucket="sets", prefix="x/") == (2, len(export.files) - 2)
    assert stored(store) == {f"x/{name}": data for name, data in files_of(folder_of(snapshot)).items()}


def test_beside_something_else_nothing_is_written(snapshot, store):
    store.put_object(Bucket="sets", Key="x/cotmed-more.jsonl", Body=b"{}\n")

    with pytest.raises(ExportRefusedError, match="cotmed-more"):
        push_to_s3(pushable(default_project(), NAME), bucket="sets", prefix="x/")

    assert list(stored(store)) == ["x/cotmed-more.jsonl"]


def test_a_store_that_refuses_is_told_in_its_words(snapshot, store):
    with pytest.raises(CommandError, match=r"The store did not take it: .*NoSuchBucket") as caught:
        call_command("push_export", NAME, "s3", "nowhere/x")

    assert caught.value.returncode == 2
