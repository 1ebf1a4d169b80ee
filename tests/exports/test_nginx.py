"""The configuration of docker/nginx.conf with a real nginx in front: ranges, tags and refusals are those of the workbench."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.urls import reverse

from apps.exports.models_downloads import Download
from apps.exports.services import build_queued_exports, create_export, folder_of
from tests.factories import make_finished_run, make_user

NGINX = os.environ.get("NGINX") or shutil.which("nginx")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not NGINX, reason="no nginx in the path; name one in NGINX"),
]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def front(live_server, settings, tmp_path, port):
    """Address of nginx before the test's own server."""
    settings.EXPORT_DIR = tmp_path / "exports"
    settings.SENDFILE = "x-accel-redirect"
    site = (django_settings.BASE_DIR / "docker" / "nginx.conf").read_text()
    for ours, theirs in (
        ("server web:8000", f"server {live_server.thread.host}:{live_server.thread.port}"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/var/lib/reasonmed/exports/", f"{settings.EXPORT_DIR}/"),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    conf = tmp_path / "nginx.conf"
    temp = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf.write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temp}\n{site}\n}}\n"
    )
    process = subprocess.Popen([NGINX, "-c", str(conf), "-e", str(tmp_path / "error.log")])
    try:
        wait_for(port, process, tmp_path)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError((folder / "error.log").read_text())


@pytest.fixture
def snapshot(front):
    made = create_export(run=make_finished_run(2), variants=["cotmed"], format="jsonl")
    build_queued_exports()
    made.refresh_from_db()
    return made


@pytest.fixture
def fetch(front, client, snapshot):
    client.force_login(make_user("clinician"))
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={client.cookies[django_settings.SESSION_COOKIE_NAME].value}"

    def fetch(path=None, *, signed_in=True, **headers):
        path = path or reverse("export_file", args=(snapshot.pk, "cotmed.jsonl"))
        request = urllib.request.Request(front + path, headers=headers | ({"Cookie": cookie} if signed_in else {}))
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    return fetch


def test_files_come_from_nginx_as_the_workbench_would_send_them(fetch, snapshot):
    data = (folder_of(snapshot) / "cotmed.jsonl").read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()}"'

    status, headers, body = fetch()
    assert (status, body, headers["ETag"]) == (200, data, tag)
    assert headers["Server"].startswith("nginx")
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Repr-Digest"].startswith("sha-256=:")
    assert "X-Accel-Redirect" not in headers

    status, headers, body = fetch(Range="bytes=100-")
    assert (status, body) == (206, data[100:])
    assert headers["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert fetch(Range="bytes=100-", **{"If-Range": tag})[::2] == (206, data[100:])
    assert fetch(Range="bytes=100-", **{"If-Range": '"other"'})[::2] == (200, data)
    assert fetch(**{"If-None-Match": tag})[0] == 304
    assert fetch(Range=f"bytes={len(data)}-")[0] == 416
    assert [d.start for d in Download.objects.order_by("id")] == [0, 100, 100, 0]


def test_nothing_comes_without_the_workbench_having_said_so(fetch, snapshot):
    status, headers, _ = fetch(signed_in=False)
    assert (status, "ndjson" in headers["Content-Type"]) == (200, False)  # the page to sign in
    assert fetch(f"/_exports/{snapshot.folder}/cotmed.jsonl")[0] == 404
    assert fetch(f"/_exports/{snapshot.folder}/../../secret_key")[0] == 404
    assert not Download.objects.exists()
