"""Who makes the pages of an export: this process alone, or readers beside it, each a process with a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.db import connection

from apps.exports.journal import PageFile
from apps.exports.lineage import frozen
from apps.exports.making.maker import Maker
from apps.exports.making.parts import Decided, Order, PageMade, PageRead, Place
from apps.exports.making.wire import Wire, pair
from apps.reasoning.models import Run, RunQuestion

ALONE_UPTO = 4_000  # questions that are made before readers would have started
AHEAD = 2  # pages that each reader has read, or is at, before it is told how they go on

Decide = Callable[[PageRead], Decided]


class ReaderLostError(Exception):
    """A reader ended before its work was done."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a reader needs to be one: the settings that may differ from its own, and its work."""

    builder: int  # process id
    settings: dict[str, Any]
    order: Order
    journal: Path | None


@dataclass(frozen=True, slots=True)
class Failed:
    """In place of an answer."""

    error: Exception


class Making(Protocol):
    """Use as a context; it may be closed at any time."""

    def __enter__(self) -> Making: ...
    def __exit__(self, *_: object) -> None: ...
    def pages(self, places: Iterator[Place], decide: Decide) -> Iterator[PageMade]:
        """What is made of the pages, in order. `decide` is asked for each, in order, too."""


def making_of(run: Run, order: Order, journal: Path | None) -> Making:
    """Inside a transaction there are no readers: they would not see what it has written."""
    wanted = settings.EXPORT_READERS
    few = RunQuestion.objects.filter(run=run)[: ALONE_UPTO + 1].count() <= ALONE_UPTO
    if wanted < 1 or few or connection.in_atomic_block:
        return Alone(run, order, journal)
    return Readers(order, journal, wanted)


class Alone:
    def __init__(self, run: Run, order: Order, journal: Path | None) -> None:
        self._file = PageFile(journal) if journal else None
        self._maker = Maker(run, order, self._file)

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def pages(self, places: Iterator[Place], decide: Decide) -> Iterator[PageMade]:
        with frozen():
            for place in places:
                yield self._maker.make(place.after, decide(self._maker.read(place)))
            self._maker.finish()


class Readers:
    """Each page goes to the next reader in turn, so that what comes from one of them is in order. A reader waits with what it
    has made until it is asked for, so that the memory of all stays small."""

    def __init__(self, order: Order, journal: Path | None, count: int) -> None:
        self._start = Start(os.getpid(), _own_settings(), order, journal)
        self._count = count
        self._lines: list[_Line] = []

    def __enter__(self) -> Readers:
        try:
            for _ in range(self._count):
                self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()
        for line in self._lines:
            line.process.wait()

    @property
    def processes(self) -> list[int]:
        return [line.process.pid for line in self._lines]

    def pages(self, places: Iterator[Place], decide: Decide) -> Iterator[PageMade]:
        turns = cycle(self._lines)
        waiting: deque[tuple[_Line, Place]] = deque()  # asked to be read
        coming: deque[tuple[_Line, Place]] = deque()  # asked to be made
        while True:
            while len(waiting) + len(coming) < AHEAD * len(self._lines) and (place := next(places, None)):
                line = next(turns)
                line.ask(place, of=("read", place.after))
                waiting.append((line, place))
            if not waiting and not coming:
                break
            if waiting and len(coming) <= len(self._lines):
                line, place = waiting.popleft()
                decided = decide(line.answer(("read", place.after)))
                line.ask((place.after, decided), of=("made", place.after))
                coming.append((line, place))
            else:
                line, place = coming.popleft()
                yield line.answer(("made", place.after))
        for line in self._lines:
            line.ask(None, of=("done", 0))
        for line in self._lines:
            line.answer(("done", 0))

    def _open(self) -> None:
        ours, theirs = pair()
        with theirs:
            words = [sys.executable, "-m", "apps.exports.making.reader", str(theirs.fileno())]
            process = subprocess.Popen(
                words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                cwd=settings.BASE_DIR, start_new_session=True,
            )  # fmt: skip
        self._lines.append(_Line(Wire(ours), process))
        self._lines[-1].tell(self._start)


class _Line:
    """To one reader, whose answers come in the order of what it was asked."""

    def __init__(self, wire: Wire, process: subprocess.Popen[bytes]) -> None:
        self._wire, self.process = wire, process
        self._asked: deque[Any] = deque()
        self._came: dict[Any, Any] = {}

    def tell(self, message: Any) -> None:
        try:
            self._wire.send(message)
        except OSError as error:
            raise self._lost() from error

    def ask(self, message: Any, *, of: Any) -> None:
        self.tell(message)
        self._asked.append(of)

    def answer(self, of: Any) -> Any:
        """Raises what the reader raised, and ReaderLostError."""
        while of not in self._came:
            try:
                self._came[self._asked.popleft()] = self._wire.receive()
            except EOFError as error:
                raise self._lost() from error
        answer = self._came.pop(of)
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def close(self) -> None:
        """At work on what nobody wants any more, if it is still there."""
        self._wire.close()
        self.process.kill()

    def _lost(self) -> ReaderLostError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        return ReaderLostError(f"a process that reads for the export ended (exit code {self.process.returncode})")


def _own_settings() -> dict[str, Any]:
    """The database that is open here, with statements prepared: a page's few statements are the same again and again, and
    planning them takes PostgreSQL a sixth of its time. All walk indexes: a plan made while a table was empty must, too."""
    database = {key: value for key, value in connection.settings_dict.items() if key != "TEST"}
    options = {**database.get("OPTIONS", {})}
    options["options"] = (
        f"{options.get('options', '')} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off".strip()
    )
    options |= {"server_side_binding": True, "prepare_threshold": 2}
    return {"DATABASES": {"default": {**database, "OPTIONS": options}}, "SECRET_KEY": settings.SECRET_KEY}
