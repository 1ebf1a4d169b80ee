"""Files over HTTP: resumable, checkable, and never from outside the export's folder."""

from __future__ import annotations

import base64
import hashlib

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.exports.checks import check_sendfile
from apps.exports.downloads import _range_of
from apps.exports.models import Snapshot
from apps.exports.models_downloads import Download
from apps.exports.publishing import discard_candidate
from apps.exports.services import build_queued_exports, create_export, folder_of
from tests.factories import make_finished_run, make_project, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def snapshot(settings, tmp_path) -> Snapshot:
    settings.EXPORT_DIR = tmp_path / "exports"
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    return made


@pytest.fixture
def fetch(client, snapshot):
    client.force_login(make_user("clinician"))

    def fetch(name="cotmed.jsonl", **headers):
        return client.get(reverse("export_file", args=(snapshot.pk, name)), headers=headers)

    return fetch


def body(response) -> bytes:
    return b"".join(response.streaming_content)


def test_the_whole_file_with_its_checksum(fetch, snapshot):
    data = (folder_of(snapshot) / "cotmed.jsonl").read_bytes()
    digest = hashlib.sha256(data).hexdigest()

    response = fetch()

    assert (response.status_code, body(response)) == (200, data)
    assert response["ETag"] == f'"{digest}"' == f'"{snapshot.manifest["files"][0]["sha256"]}"'
    assert response["Repr-Digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"
    assert response["Content-Length"] == str(len(data))
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Disposition"] == 'attachment; filename="cotmed.jsonl"'
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["provenance.jsonl", "README.md", "manifest.json"])
def test_every_file_of_the_folder_can_be_fetched(fetch, snapshot, name):
    assert body(fetch(name)) == (folder_of(snapshot) / name).read_bytes()


def test_a_download_that_broke_off_goes_on_where_it_stopped(fetch):
    whole = fetch()
    data = body(whole)

    rest = fetch(range="bytes=100-", **{"if-range": whole["ETag"]})

    assert (rest.status_code, data[:100] + body(rest)) == (206, data)
    assert rest["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert rest["Content-Length"] == str(len(data) - 100)


@pytest.mark.parametrize(
    ("header", "cut"), [("bytes=0-0", slice(0, 1)), ("bytes=5-9", slice(5, 10)), ("bytes=-7", slice(-7, None))]
)
def test_one_range(fetch, header, cut):
    data = body(fetch())

    part = fetch(range=header)

    assert (part.status_code, body(part)) == (206, data[cut])


@pytest.mark.parametrize(
    "header", ["bytes=0-1,3-4", "lines=1-2", "bytes=", "bytes=-", "bytes=9-5", "bytes=x-", "bytes=" + "9" * 400 + "-"]
)
def test_what_is_no_single_range_gives_the_whole_file(fetch, header):
    response = fetch(range=header)

    assert response.status_code == 200
    assert len(body(response)) == int(response["Content-Length"])


@pytest.mark.parametrize("header", ["bytes=999999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(fetch, header):
    response = fetch(range=header)

    assert response.status_code == 416
    assert response["Content-Range"].startswith("bytes */")


def test_a_range_of_another_version_gives_the_whole_file(fetch):
    assert fetch(range="bytes=5-9", **{"if-range": '"old"'}).status_code == 200


def test_what_the_caller_has_is_not_sent_again(fetch):
    assert fetch(**{"if-none-match": fetch()["ETag"]}).status_code == 304


def test_head_says_what_get_would(client, fetch, snapshot):
    response = client.head(reverse("export_file", args=(snapshot.pk, "cotmed.jsonl")))

    assert (response.status_code, response["Content-Length"]) == (200, fetch()["Content-Length"])


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "%2e%2e%2fsecret_key",
        "..%2f..%2fsecret_key",
        "%2fetc%2fpasswd",
        "cotmed.jsonl%00",
        "secret",
        "COTMED.JSONL",
    ],
)
def test_no_name_leads_out_of_the_folder(client, fetch, snapshot, name, tmp_path):
    (folder_of(snapshot) / "secret").write_text("not in the manifest")

    response = client.get(f"/exports/{snapshot.pk}/files/{name}")

    assert response.status_code in (301, 404)
    assert b"manifest" not in response.content


def test_an_export_that_is_not_done_has_no_files(fetch, snapshot):
    Snapshot.objects.update(state="building")

    assert fetch().status_code == 404


def test_another_projects_export_is_not_there(client, snapshot):
    client.force_login(make_user("curator"))
    snapshot.run.project = make_project("other")
    snapshot.run.save()

    assert client.get(reverse("export_file", args=(snapshot.pk, "cotmed.jsonl"))).status_code == 404
    assert client.get(reverse("export", args=(snapshot.pk,))).status_code == 404
    assert str(snapshot) not in client.get(reverse("exports")).content.decode()


@given(size=st.integers(0, 1000), start=st.integers(0, 1100), length=st.integers(0, 1100))
def test_a_range_is_what_slicing_gives(size, start, length):
    data = bytes(n % 251 for n in range(size))
    found = _range_of(f"bytes={start}-{start + length}", size)
    assert found is not None
    assert data[found[0] : found[1]] == data[start : start + length + 1]


# --- who fetched what


def test_what_is_sent_is_written_down(fetch, snapshot):
    body(fetch())
    body(fetch(range="bytes=100-"))
    body(fetch("README.md"))

    assert [(d.export, d.file, d.start) for d in Download.objects.order_by("id")] == [
        (str(snapshot), "cotmed.jsonl", 0), (str(snapshot), "cotmed.jsonl", 100), (str(snapshot), "README.md", 0),
    ]  # fmt: skip
    assert len({d.by_id for d in Download.objects.all()}) == 1


def test_what_is_not_sent_is_not(client, fetch, snapshot):
    etag = client.head(reverse("export_file", args=(snapshot.pk, "cotmed.jsonl")))["ETag"]
    fetch(**{"if-none-match": etag})
    fetch(range="bytes=999999999-")
    fetch("nothing")

    assert not Download.objects.exists()


def test_the_api_writes_it_down_too(client, fetch, snapshot):
    body(client.get(reverse("api-1:export_file", args=(snapshot.pk, "cotmed.jsonl"))))

    assert Download.objects.get().file == "cotmed.jsonl"


def test_a_discarded_candidate_leaves_the_log(fetch, snapshot):
    body(fetch())
    said = str(snapshot)

    discard_candidate(snapshot=snapshot)

    assert (Download.objects.get().export, Download.objects.get().snapshot) == (said, None)


# --- sent by the web server


@pytest.fixture(params=["x-accel-redirect", "x-sendfile"])
def sendfile(request, settings):
    settings.SENDFILE = request.param
    return request.param


def test_the_web_server_is_told_where_the_file_lies(sendfile, fetch, snapshot):
    response = fetch(range="bytes=5-9")

    path = folder_of(snapshot) / "cotmed.jsonl"
    place = f"/_exports/{snapshot.folder}/cotmed.jsonl" if sendfile == "x-accel-redirect" else str(path)
    assert response[sendfile] == place
    assert (response.status_code, response.content) == (200, b"")
    assert response["ETag"] == f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"'
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"] == 'attachment; filename="cotmed.jsonl"'
    assert Download.objects.get().start == 5


@pytest.mark.parametrize("name", ["secret", "..", "%2e%2e%2fsecret_key"])
def test_the_web_server_is_told_of_no_other_file(sendfile, client, fetch, snapshot, name):
    (folder_of(snapshot) / "secret").write_text("not in the manifest")

    response = client.get(f"/exports/{snapshot.pk}/files/{name}")

    assert response.status_code in (301, 404)
    assert sendfile not in response
    assert not Download.objects.exists()


def test_who_has_it_already_is_not_sent_to_the_web_server(sendfile, fetch):
    etag = fetch()["ETag"]

    response = fetch(**{"if-none-match": etag})

    assert response.status_code == 304
    assert sendfile not in response


@pytest.mark.parametrize("word", ["", "x-accel-redirect", "x-sendfile"])
def test_known_ways_to_send_files_pass_the_check(settings, word):
    settings.SENDFILE = word

    assert check_sendfile() == []


def test_an_unknown_way_stops_the_start(settings):
    settings.SENDFILE = "x-sendmail"

    assert [e.id for e in check_sendfile()] == ["exports.E002"]
