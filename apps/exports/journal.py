"""What an export has read of the ledger so far, so that a builder that dies loses no reading.

Every page is written down as it was read, before anything is made of it. The next builder reads the pages back, goes on
behind the last one, and makes all files anew from the same pages: the same bytes, whenever the one before it died.

Pages are read at different moments. `moved` compares each question's version with the ledger's: when none has risen, all
pages together are the ledger at that one moment. Those that have risen are read again (docs/decisions/0009).
"""

from __future__ import annotations

import hmac
import os
import struct
import sys
import time
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.db import connection
from django.utils.crypto import salted_hmac

from apps.exports.lineage import PAGE, Asked, bounds_of
from apps.exports.making.parts import PageRead, Place
from apps.exports.packing import pack, unpack
from apps.exports.proof.code import code_version
from apps.reasoning.models import Run

SYNC_SECONDS = 1.0  # what was read in the last second may be lost with the machine, never with the process
_VERSIONS = """
SELECT string_agg(int8send(question_id) || int8send(version), '' ORDER BY question_id)
FROM reasoning_runquestion WHERE run_id = %s"""
_FRAME = struct.Struct(
    ">QQQ32s"
)  # id behind which the page begins, id of its last question, bytes of the page, keyed hash over all of it


class Pages(Protocol):
    """All questions of a run, a page at a time, in the order of their ids."""

    path: Path | None  # of the file in which pages are written down as they are read

    def places(self) -> Iterator[Place]:
        """What is to be read, in order; begins a round. Each page that was read is told to `note`, in the same order."""

    def note(self, read: PageRead) -> None: ...
    def moved(self) -> int:
        """How many questions have changed since they were read."""

    def read_again(self) -> bool:
        """Has those read anew in the next round; False where that cannot be done."""


class LivePages:
    """Straight from the ledger, once."""

    path: Path | None = None

    def __init__(self, run: Run, *, page: int = PAGE) -> None:
        self._run, self._page, self._seen = run, page, _Versions(run)

    def places(self) -> Iterator[Place]:
        self._seen = _Versions(self._run)
        return (Place(after, upto) for after, upto in bounds_of(self._run, page=self._page))

    def note(self, read: PageRead) -> None:
        self._seen.add(read)

    def moved(self) -> int:
        return len(self._seen.changed())

    def read_again(self) -> bool:
        return False


class PageFile:
    """The file of a journal, for any number of processes that write pages down in it side by side: each frame is one write
    at the end of the file."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, place: Place, page: list[Asked]) -> Place:
        data = pack(page)
        frame = _FRAME.pack(place.after, place.upto, len(data), _hash(place, data)) + data
        if os.write(self._handle, frame) < len(frame):
            raise OSError(28, "No space left on device")
        end = os.lseek(self._handle, 0, os.SEEK_CUR)
        return place._replace(at=end - len(data), size=len(data))

    def load(self, place: Place) -> list[Asked]:
        """Only of a place that a journal has given: the hash of its frame was right."""
        return unpack(os.pread(self._handle, place.size, place.at))

    def close(self) -> None:
        os.close(self._handle)


class Journal:
    """The pages in a file. Use as a context; one at a time for a file (the builder holds the snapshot's lock).

    A page whose hash is wrong, and all behind it, count as not read: they were cut off, or are not ours.
    """

    def __init__(self, path: Path, run: Run, *, page: int = PAGE) -> None:
        self.path: Path | None = path
        self._file, self._run, self._page = path, run, page
        self.found = 0  # pages that an earlier builder had read
        self._places: dict[int, Place] = {}  # by the id behind which a page begins
        self._seen = _Versions(run)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        head = repr((code_version(), self._run.pk, self._run.config_hash, self._page)).encode() + b"\n"
        end = len(head)
        if os.pread(self._handle, end, 0) != head:
            os.truncate(self._handle, 0)
            os.pwrite(self._handle, head, 0)
        while place := self._read_frame(end):
            self._places[place.after] = place
            end = place.at + place.size
        os.truncate(self._handle, end)
        self.found = len(self._places)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def places(self) -> Iterator[Place]:
        """What was read, and what was not: between pages (they are read side by side, so one may be missing) and behind them."""
        self._seen, last = _Versions(self._run), 0
        for place in [*sorted(self._places.values()), None]:
            until = place.after if place else None
            for after, upto in bounds_of(self._run, page=self._page, after=last) if until != last else ():
                if until is not None and upto > until:
                    upto = until
                yield Place(after, upto)
                if upto == until:
                    break
            if place:
                yield place
                last = place.upto

    def note(self, read: PageRead) -> None:
        self._places[read.place.after] = read.place
        self._seen.add(read)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._handle)
            self._synced = time.monotonic()

    def moved(self) -> int:
        return len(self._seen.changed())

    def read_again(self) -> bool:
        changed = self._seen.changed()
        for place in list(self._places.values()):
            if any(place.after < pk <= place.upto for pk in changed):
                self._places[place.after] = Place(place.after, place.upto)
        return True

    def _read_frame(self, at: int) -> Place | None:
        head = os.pread(self._handle, _FRAME.size, at)
        if len(head) < _FRAME.size:
            return None
        after, upto, size, digest = _FRAME.unpack(head)
        begin = at + _FRAME.size
        left = os.fstat(self._handle).st_size - begin
        data = os.pread(self._handle, size, begin) if size <= left else b""
        place = Place(after, upto, begin, size)
        return place if data and hmac.compare_digest(digest, _hash(place, data)) else None


class _Versions:
    """The version of each question when it was read: 16 bytes a question."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ids, self._versions = array("q"), array("q")

    def add(self, read: PageRead) -> None:
        self._ids.frombytes(read.ids)
        self._versions.frombytes(read.versions)

    def changed(self) -> set[int]:
        ids, versions = self._now()
        if ids == self._ids:  # but for a run whose questions themselves are others now
            pairs = zip(versions, self._versions, strict=True)
            return {pk for pk, (now, read) in zip(ids, pairs, strict=True) if now != read}
        found = dict(zip(ids, versions, strict=True))
        return {pk for pk, version in zip(self._ids, self._versions, strict=True) if found.get(pk) != version}

    def _now(self) -> tuple[array[int], array[int]]:
        """As arrays, as PostgreSQL holds them: rows of a large run would take the builder 40 MiB."""
        with connection.cursor() as cursor:
            cursor.execute(_VERSIONS, [self._run.pk])
            (data,) = cursor.fetchone()
        found = array("q", bytes(data or b""))
        if sys.byteorder == "little":
            found.byteswap()
        return found[::2], found[1::2]


def _hash(place: Place, data: bytes) -> bytes:
    """Keyed with the installation's secret: only what we wrote is ever unpacked."""
    found = hmac.new(_key(), struct.pack(">QQ", place.after, place.upto), "sha256")
    found.update(data)
    return found.digest()


@lru_cache(maxsize=8)
def _key_of(secret: str) -> bytes:
    return salted_hmac("apps.exports.journal", "pages", secret=secret, algorithm="sha256").digest()


def _key() -> bytes:
    return _key_of(settings.SECRET_KEY)
