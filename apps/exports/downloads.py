"""A file of an export over HTTP: resumable, checkable, never from outside the export's folder (RFC 9110 §13–14)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.exports.models import ExportState, Snapshot
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
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def send_file(request: HttpRequest, snapshot: Snapshot, name: str) -> HttpResponseBase:
    """The whole file, the one range asked for, 304 when the caller has it, 416 for a range beyond its end.

    Raises Http404 when the snapshot is not done or has no such file.
    """
    entry = file_named(snapshot, name) if snapshot.state == ExportState.DONE else None
    path = folder_of(snapshot) / name
    if entry is None or not path.is_file():
        raise Http404("This export has no such file.")
    digest = entry["sha256"] or hashlib.sha256(path.read_bytes()).hexdigest()
    etag = f'"{digest}"'
    if request.method in ("GET", "HEAD") and _matches(request.headers.get("If-None-Match", ""), etag):
        return _described(HttpResponse(status=304), etag, digest)
    return _described(_body(request, path, etag), etag, digest)


def _body(request: HttpRequest, path: Path, etag: str) -> HttpResponseBase:
    size = path.stat().st_size
    kind = TYPES.get(path.suffix, "text/markdown; charset=utf-8")
    wanted = request.headers.get("Range", "")
    if request.headers.get("If-Range", etag) != etag or request.method != "GET":
        wanted = ""
    found = _range_of(wanted, size)
    if found is None:
        response = FileResponse(path.open("rb"), as_attachment=True, filename=path.name, content_type=kind)
        response["Content-Length"] = str(size)
        return response
    start, end = found
    if start >= end:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    part = StreamingHttpResponse(_read(path, start, end), status=206, content_type=kind)
    part["Content-Length"] = str(end - start)
    part["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    part["Content-Disposition"] = f'attachment; filename="{path.name}"'
    return part


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
