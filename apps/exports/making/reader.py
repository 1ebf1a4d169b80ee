"""`python -m apps.exports.making.reader FD`: a reader of an export, started by its builder and gone with it."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

_PR_SET_PDEATHSIG = 1
FOR_PAGES = {  # of the site: a reader shows none, and without them it takes 8 MiB less
    "csp",
    "django.contrib.admin",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_htmx",
    "ninja",
}
SWITCH_SECONDS = 0.0002  # what is sent goes by the hundred kilobytes, and must not wait for its turn before each


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # for the builder, which ends us
        signal.signal(number, signal.SIG_IGN)
    _die_with_the_builder()
    import django
    from django.conf import settings

    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app not in FOR_PAGES]
    django.setup()
    from apps.exports.making.wire import Wire

    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the builder is gone
        serve(wire)
    os._exit(0)  # whatever a thread still waits for


def serve(wire: Any) -> None:
    """Answers each message in the order in which they come. With None, all pages of a round are made."""
    from apps.exports.journal import PageFile
    from apps.exports.making.maker import Maker
    from apps.exports.making.parts import Place
    from apps.reasoning.models import Run

    start = wire.receive()
    _take(start.settings)
    if os.getppid() != start.builder:
        return
    run = Run.objects.select_related("project", "paths_from").get(pk=start.order.run_id)
    maker = Maker(run, start.order, PageFile(start.journal) if start.journal else None)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)  # of the rows of a page, none is in a cycle
    sys.setswitchinterval(SWITCH_SECONDS)
    sender = _Sender(wire)
    while True:
        message = wire.receive()
        if isinstance(message, Place):
            sender.send(_answer(partial(maker.read, message)))
        elif message is not None:
            sender.send(_answer(partial(maker.make, *message)))
        else:
            sender.send(_answer(maker.finish))


def _answer(work: Any) -> Any:
    from apps.exports.making.pool import Failed

    try:
        return work()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:
            return Failed(RuntimeError(f"{type(error).__name__}: {error}"))
        return Failed(error)


class _Sender:
    """Sends while the next page is made; one answer at most waits behind the one that is sent."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self._room = threading.Semaphore(2)
        self._answers: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._run, name="send-pages", daemon=True).start()

    def send(self, answer: Any) -> None:
        self._room.acquire()
        self._answers.put(answer)

    def _run(self) -> None:
        try:
            while True:
                self._wire.send(self._answers.get())
                self._room.release()
        except OSError:
            os._exit(0)  # the builder is gone


def _take(given: dict[str, Any]) -> None:
    from django.conf import settings
    from django.db import connections

    for name, value in given.items():
        setattr(settings, name, value)
    connections["default"].close()
    connections["default"].settings_dict |= given["DATABASES"]["default"]


def _die_with_the_builder() -> None:
    """Where the system can (Linux); else the socket's end is how it is noticed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
