"""A file of an export over HTTP: resumable, checkable, never from outside the export's folder (RFC 9110 §13–14).

Who may have it is decided and written down here. The bytes are sent from here too, or by the web server in front, to
which REASONMED_SENDFILE gives the file's place (docs/operations.md).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.models import User
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.exports.models import ExportState, Snapshot
from apps.exports.models_downloads import Download
from apps.exports.selectors import file_named
from apps.exports.services import folder_of

CHUNK = 256 * 1024
TYPES = {
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".sig": "application/json",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}
ACCEL = "/_exports/"  # the internal location of docker/nginx.conf, whose root is EXPORT_DIR
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def send_file(request: HttpRequest, snapshot: Snapshot, name: str) -> HttpResponseBase:
    """The whole file, the one range asked for, 304 when the caller has it, 416 for a range beyond its end.

    What is sent is logged with who asked. Raises Http404 when the snapshot is not done or has no such file.
    """
    entry = file_named(snapshot, name) if snapshot.state == ExportState.DONE else None
    path = folder_of(snapshot) / name
    if entry is None or not path.is_file():
        raise Http404("This export has no such file.")
    digest = entry["sha256"] or hashlib.sha256(path.read_bytes()).hexdigest()
    etag = f'"{digest}"'
    if request.method in ("GET", "HEAD") and _matches(request.headers.get("If-None-Match", ""), etag):
        return _described(HttpResponse(status=304), etag, digest)
    size = path.stat().st_size
    wanted = _wanted(request, etag, size)
    if request.method == "GET" and (wanted is None or wanted[0] < wanted[1]):
        _log(request, snapshot, name, start=wanted[0] if wanted else 0)
    response = _handed_over(snapshot, path) if settings.SENDFILE else _body(path, size, wanted)
    return _described(response, etag, digest)


def _wanted(request: HttpRequest, etag: str, size: int) -> tuple[int, int] | None:
    """The range asked for; None where the whole file is to be sent."""
    if request.headers.get("If-Range", etag) != etag or request.method != "GET":
        return None
    return _range_of(request.headers.get("Range", ""), size)


def _log(request: HttpRequest, snapshot: Snapshot, name: str, *, start: int) -> None:
    if isinstance(request.user, User):
        Download.objects.create(snapshot=snapshot, export=str(snapshot), file=name, start=start, by=request.user)


def _handed_over(snapshot: Snapshot, path: Path) -> HttpResponse:
    """No bytes, but where the web server finds them. It looks at the range itself."""
    response = HttpResponse(content_type=_kind(path))
    response["Content-Disposition"] = f'attachment; filename="{path.name}"'
    if settings.SENDFILE == "x-accel-redirect":
        response["X-Accel-Redirect"] = f"{ACCEL}{quote(snapshot.folder)}/{quote(path.name)}"
    else:
        response["X-Sendfile"] = str(path.absolute())
    return response


def _body(path: Path, size: int, wanted: tuple[int, int] | None) -> HttpResponseBase:
    if wanted is None:
        response = FileResponse(path.open("rb"), as_attachment=True, filename=path.name, content_type=_kind(path))
        response["Content-Length"] = str(size)
        return response
    start, end = wanted
    if start >= end:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    part = StreamingHttpResponse(_read(path, start, end), status=206, content_type=_kind(path))
    part["Content-Length"] = str(end - start)
    part["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    part["Content-Disposition"] = f'attachment; filename="{path.name}"'
    return part


def _kind(path: Path) -> str:
    return TYPES.get(path.suffix, "text/plain; charset=utf-8")


def _described(response: HttpResponseBase, etag: str, digest: str) -> HttpResponseBase:
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, no-cache"
    response["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"
    return response


def _range_of(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) with end excluded; empty when the range cannot be met; None when there is none to honour.

    Several ranges, or one that is not well formed, are ignored, as the standard allows: the whole file is sent.
    """
    match = _RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _read(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk
