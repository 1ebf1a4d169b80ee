"""A candidate becomes a snapshot for ever, or is discarded; a published one cannot be touched."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.exports.errors import ExportRefusedError
from apps.exports.models import ExportState, Snapshot, SnapshotRecord
from apps.exports.publishing import discard_candidate, propose_name, publish_snapshot
from apps.exports.services import build_queued_exports, create_export, folder_of
from apps.pipeline.models import Call
from apps.reasoning.models import Run
from tests.factories import make_finished_run, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def export_dir(settings, tmp_path):
    settings.EXPORT_DIR = tmp_path / "exports"


@pytest.fixture
def run() -> Run:
    """A run whose calls are all real."""
    made = make_finished_run(2)
    Call.objects.filter(run=made).update(simulated=False)
    return made


def candidate(run: Run) -> Snapshot:
    made = create_export(run=run, variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    assert made.candidate
    return made


def publish(snapshot: Snapshot, name: str = "reasonmed-2026.1", by=None) -> Snapshot:
    return publish_snapshot(snapshot=snapshot, name=name, by=by)


def test_a_candidate_is_published_under_a_name(run):
    made, curator = candidate(run), make_user("curator")
    assert str(made) == f"{run.name}.1"

    publish(made, by=curator)

    kept = Snapshot.objects.get()
    assert (str(kept), kept.published, kept.candidate) == ("reasonmed-2026.1", True, False)
    assert kept.published_by == curator
    assert kept.created_at <= kept.published_at <= timezone.now()


@pytest.mark.parametrize("name", ["", "x", "Reasonmed-1", "a b", "../etc", ".hidden", "ends-", "é-2026", "a" * 101])
def test_a_name_that_is_none_is_refused(run, name):
    made = candidate(run)

    with pytest.raises(ExportRefusedError, match="A name has"):
        publish(made, name)

    assert Snapshot.objects.get().name == ""


def test_a_name_is_given_once(run):
    publish(candidate(run))
    other = candidate(run)

    with pytest.raises(ExportRefusedError, match="never given twice"):
        publish(other)

    other.refresh_from_db()
    assert other.candidate


def test_one_is_published_once(run):
    made = candidate(run)
    stale = Snapshot.objects.get()
    publish(made)

    for again in (made, stale):
        with pytest.raises(ExportRefusedError, match=r"already, as reasonmed-2026\.1"):
            publish(again, "another-name")


def test_what_rests_on_simulated_calls_stays_a_candidate():
    made = candidate(make_finished_run(2))

    with pytest.raises(ExportRefusedError, match="simulated model calls"):
        publish(made)


def test_one_that_waits_or_failed_or_is_empty_is_not_published(run):
    waiting = create_export(run=run, variants=["cotmed"], format="jsonl")
    failed = create_export(run=run, variants=["cotmed"], format="jsonl")
    Snapshot.objects.filter(pk=failed.pk).update(state=ExportState.FAILED)
    failed.refresh_from_db()
    empty = candidate(make_finished_run(0))

    for snapshot, why in ((waiting, "whole"), (failed, "whole"), (empty, "no records")):
        with pytest.raises(ExportRefusedError, match=why):
            publish(snapshot)


@pytest.mark.parametrize("harm", ["changed", "shortened", "lost", "manifest"])
def test_files_that_are_not_those_that_were_built_are_not_published(run, harm):
    made = candidate(run)
    data, manifest = folder_of(made) / "cotmed.jsonl", folder_of(made) / "manifest.json"
    if harm == "lost":
        data.unlink()
    elif harm == "shortened":
        data.write_bytes(data.read_bytes()[:-1])
    elif harm == "manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace(run.name, "other"))

    with pytest.raises(ExportRefusedError, match="Its files are not those"):
        publish(made)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "other"},
        {"manifest": {}},
        {"state": ExportState.QUEUED},
        {"records": 1},
        {"folder": "elsewhere"},
        {"config": {"labels": "judge"}},
        {"published_at": None},
    ],
    ids=lambda change: next(iter(change)) + "=" + str(next(iter(change.values()))),
)
def test_the_database_refuses_to_change_a_published_one(run, change):
    made = publish(candidate(run))

    with pytest.raises(IntegrityError), transaction.atomic():
        Snapshot.objects.filter(pk=made.pk).update(**change)

    assert Snapshot.objects.get().name == "reasonmed-2026.1"


def test_the_database_refuses_to_delete_a_published_one(run):
    made = publish(candidate(run))

    with pytest.raises(IntegrityError), transaction.atomic():
        made.delete()

    with pytest.raises(ExportRefusedError, match="stays"):
        discard_candidate(snapshot=made)
    assert Snapshot.objects.filter(pk=made.pk).exists()
    assert (folder_of(made) / "cotmed.jsonl").exists()


def test_a_candidate_is_discarded_with_its_files(run, django_capture_on_commit_callbacks):
    made = candidate(run)
    folder = folder_of(made)

    with django_capture_on_commit_callbacks(execute=True), CaptureQueriesContext(connection) as asked:
        discard_candidate(snapshot=made)

    assert not Snapshot.objects.exists()
    assert not SnapshotRecord.objects.exists()
    assert not folder.exists()
    first = next(q["sql"] for q in asked if "exports_snapshotrecord" in q["sql"])
    assert first.startswith("DELETE"), "its rows, hundreds of thousands, are not fetched to be deleted"


def test_one_being_written_is_not_discarded(run):
    made = create_export(run=run, variants=["cotmed"], format="jsonl")

    with pytest.raises(ExportRefusedError, match="being written"):
        discard_candidate(snapshot=made)


def test_the_next_name_is_proposed(run):
    year = timezone.now().year
    assert propose_name(run.project) == f"reasonmed-{year}.1"
    for name in (f"reasonmed-{year}.9", f"reasonmed-{year}.10", f"reasonmed-{year}.x", "reasonmed-1999.77"):
        publish(candidate(run), name)

    assert propose_name(run.project) == f"reasonmed-{year}.11"


def test_a_curator_publishes_on_the_page(client, run):
    made = candidate(run)
    client.force_login(make_user("curator"))
    address = reverse("export", args=(made.pk,))
    page = client.get(address).content.decode()
    assert f'value="{propose_name(run.project)}"' in page

    refused = client.post(reverse("export_publish", args=(made.pk,)), {"name": "No Name"})
    done = client.post(reverse("export_publish", args=(made.pk,)), {"name": "reasonmed-2026.1"}, follow=True)

    assert (refused.status_code, "A name has 3 to 100" in refused.content.decode()) == (422, True)
    assert 'value="No Name"' in refused.content.decode()
    text = done.content.decode()
    assert done.redirect_chain == [(address, 302)]
    assert "<h1>reasonmed-2026.1</h1>" in text
    assert reverse("export_publish", args=(made.pk,)) not in text


def test_the_page_says_why_a_simulated_one_cannot_be_published(client):
    made = candidate(make_finished_run(1))
    client.force_login(make_user("curator"))

    page = client.get(reverse("export", args=(made.pk,))).content.decode()

    assert "It cannot be published." in page
    assert reverse("export_publish", args=(made.pk,)) not in page


@pytest.mark.parametrize("name", ["export_publish", "export_discard"])
@pytest.mark.parametrize(("role", "status"), [(None, 403), ("consumer", 403), ("clinician", 403), ("anonymous", 302)])
def test_only_curators_decide(client, run, name, role, status):
    made = candidate(run)
    if role != "anonymous":
        client.force_login(make_user(role))

    assert client.post(reverse(name, args=(made.pk,)), {"name": "reasonmed-2026.1"}).status_code == status
    assert reverse(name, args=(made.pk,)) not in client.get(reverse("export", args=(made.pk,))).content.decode()
    assert Snapshot.objects.get().name == ""


def test_a_curator_discards_on_the_page(client, run):
    made = candidate(run)
    client.force_login(make_user("curator"))

    response = client.post(reverse("export_discard", args=(made.pk,)), follow=True)

    assert response.redirect_chain == [(reverse("exports"), 302)]
    assert not Snapshot.objects.exists()


def test_the_api_publishes(client, run):
    made = candidate(run)
    client.force_login(make_user("curator"))
    url = f"/api/v1/exports/{made.pk}/publish"

    refused = client.post(url, {"name": "-"}, content_type="application/json")
    done = client.post(url, {"name": "reasonmed-2026.1"}, content_type="application/json")

    assert (refused.status_code, refused.json()["field"]) == (422, "name")
    assert (done.status_code, done.json()["name"], done.json()["published"]) == (200, "reasonmed-2026.1", True)
    assert client.delete(f"/api/v1/exports/{made.pk}").status_code == 422


def test_the_command_publishes_by_the_name_in_the_list(run, capsys):
    candidate(run)

    call_command("publish_snapshot", f"{run.name}.1", "reasonmed-2026.1")

    assert "is published as reasonmed-2026.1" in capsys.readouterr().out
    for called, name in ((f"{run.name}.2", "reasonmed-2026.2"), ("reasonmed-2026.1", "reasonmed-2026.2")):
        with pytest.raises(CommandError) as caught:
            call_command("publish_snapshot", called, name)
        assert caught.value.returncode == 2
