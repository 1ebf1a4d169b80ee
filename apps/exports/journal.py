"""What an export has read of the ledger so far, so that a builder that dies loses no reading.

Every page is written down as it was read, before anything is made of it. The next builder reads the pages back, goes on
behind the last one, and makes all files anew from the same pages: the same bytes, whenever the one before it died.

Pages are read at different moments. `moved` compares each question's version with the ledger's: when none has risen, all
pages together are the ledger at that one moment. Those that have risen are read again (docs/decisions/0009).
"""

from __future__ import annotations

import hmac
import os
import pickle
import struct
import time
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Protocol

from django.conf import settings
from django.db import connection
from django.utils.crypto import salted_hmac

from apps.exports.lineage import PAGE, Asked, read_pages
from apps.exports.proof.manifest import code_version
from apps.reasoning.models import Run

SYNC_SECONDS = 1.0  # what was read in the last second may be lost with the machine, never with the process
_FRAME = struct.Struct(
    ">QQ32s"
)  # id behind which the page begins, bytes of the page, keyed hash over both and the page


class Pages(Protocol):
    """All questions of a run, a page at a time, in the order of their ids."""

    def __iter__(self) -> Iterator[list[Asked]]: ...

    def moved(self) -> int:
        """How many questions have changed since they were read."""

    def read_again(self) -> bool:
        """Reads those anew, for the next iteration; False where that cannot be done."""


class LivePages:
    """Straight from the ledger, once."""

    def __init__(self, run: Run, *, page: int = PAGE) -> None:
        self._run, self._page, self._seen = run, page, _Versions(run)

    def __iter__(self) -> Iterator[list[Asked]]:
        self._seen = _Versions(self._run)
        for page in read_pages(self._run, page=self._page):
            self._seen.add(page)
            yield page

    def moved(self) -> int:
        return len(self._seen.changed())

    def read_again(self) -> bool:
        return False


class Journal:
    """The pages in a file. Use as a context; one at a time for a file (the builder holds the snapshot's lock).

    A page whose hash is wrong, and all behind it, count as not read: they were cut off, or are not ours.
    """

    def __init__(self, path: Path, run: Run, *, page: int = PAGE) -> None:
        self.path, self._run, self._page = path, run, page
        self.found = 0  # pages that an earlier builder had read
        self._places: dict[int, tuple[int, int]] = {}  # id behind which a page begins → place in the file, bytes
        self._seen = _Versions(run)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        head = repr((code_version(), self._run.pk, self._run.config_hash, self._page)).encode()
        self._end = self._write_head(head) if self._file.readline() != head + b"\n" else len(head) + 1
        while frame := self._read_frame(self._end):
            after, data = frame
            self._places[after] = (self._end + _FRAME.size, len(data))
            self._end += _FRAME.size + len(data)
        self._file.truncate(self._end)
        self.found = len(self._places)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[list[Asked]]:
        """What was read, then what was not."""
        self._seen, last = _Versions(self._run), 0
        for after in sorted(self._places):
            page = self._load(after)
            self._seen.add(page)
            last = page[-1].row.question_id
            yield page
        for page in read_pages(self._run, after=last, page=self._page):
            self._append(last, page)
            self._seen.add(page)
            last = page[-1].row.question_id
            yield page

    def moved(self) -> int:
        return len(self._seen.changed())

    def read_again(self) -> bool:
        changed = self._seen.changed()
        starts = [*sorted(self._places), 2**63]
        for after, following in pairwise(starts):
            if any(after < pk <= following for pk in changed):
                page = next(read_pages(self._run, after=after, page=self._page))
                self._append(after, page)
        return True

    def _append(self, after: int, page: list[Asked]) -> None:
        data = pickle.dumps(page, protocol=5)
        frame = _FRAME.pack(after, len(data), _hash(after, data)) + data
        self._file.seek(self._end)
        self._file.write(frame)
        self._places[after] = (self._end + _FRAME.size, len(data))
        self._end += len(frame)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def _load(self, after: int) -> list[Asked]:
        place, size = self._places[after]
        self._file.seek(place)
        page: list[Asked] = pickle.loads(self._file.read(size))  # noqa: S301 - its keyed hash was right: we wrote it
        return page

    def _read_frame(self, place: int) -> tuple[int, bytes] | None:
        self._file.seek(place)
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return None
        after, size, digest = _FRAME.unpack(head)
        left = os.fstat(self._file.fileno()).st_size - place - _FRAME.size
        data = self._file.read(size) if size <= left else b""
        return (after, data) if data and hmac.compare_digest(digest, _hash(after, data)) else None

    def _write_head(self, head: bytes) -> int:
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(head + b"\n")
        return len(head) + 1


class _Versions:
    """The version of each question when it was read: 16 bytes a question."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ids, self._versions = array("q"), array("q")

    def add(self, page: list[Asked]) -> None:
        self._ids.extend(a.row.question_id for a in page)
        self._versions.extend(a.row.version for a in page)

    def changed(self) -> set[int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT question_id, version FROM reasoning_runquestion WHERE run_id = %s", [self._run.pk])
            now = dict(cursor.fetchall())
        return {pk for pk, version in zip(self._ids, self._versions, strict=True) if now.get(pk) != version}


def _hash(after: int, data: bytes) -> bytes:
    """Keyed with the installation's secret: only what we wrote is ever unpickled."""
    return hmac.digest(_key(), struct.pack(">Q", after) + data, "sha256")


def _key() -> bytes:
    return salted_hmac("apps.exports.journal", "pages", secret=settings.SECRET_KEY, algorithm="sha256").digest()
