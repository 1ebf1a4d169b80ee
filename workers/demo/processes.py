"""Child processes that never outlive us: each in its own session, ended by group, and told by the kernel if we die."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

PR_SET_PDEATHSIG = 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 15.0  # seconds between asking and killing


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception: nothing on the way may swallow it."""


def stop_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise Stopped here, even where we inherited them as ignored or blocked."""

    def stop(number: int, frame: FrameType | None) -> None:
        ignore_signals()  # one is enough: the way out is not interrupted
        raise Stopped(number)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # a closed terminal stops us too, unless under nohup
        signal.signal(signal.SIGHUP, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def ignore_signals() -> None:
    for number in (*STOP_SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel send us SIGTERM when our parent ends (Linux only). `parent` is whom we expect it to be."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if parent is not None and os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]

    def group_alive(self) -> bool:
        """Whether anything of the child's process group still runs, its own children included."""
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass
class Children:
    """Everything we started, in order. `log_folder` takes what they print, one file a name."""

    log_folder: Path
    running: list[Child] = field(default_factory=list)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], output: IO[str] | None = None) -> Child:
        """Start a child; its output goes to `<log_folder>/<name>.log`, or to `output`."""
        us = os.getpid()

        def prepare() -> None:  # between fork and exec
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(us)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

        self.log_folder.mkdir(parents=True, exist_ok=True)
        with (self.log_folder / f"{name}.log").open("ab") as log:
            to = output if output is not None else log
            # A signal between fork and registration would leave an unknown child behind.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGHUP))
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=to,
                    stderr=to,
                    env=dict(env),
                    start_new_session=True,
                    preexec_fn=prepare,
                )
                child = Child(name, process)
                self.running.append(child)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child

    def forget(self, child: Child) -> None:
        """A child that has ended; what it left of its group is killed."""
        child.signal_group(signal.SIGKILL)
        self.running.remove(child)

    def ended(self) -> list[Child]:
        return [child for child in self.running if child.process.poll() is not None]

    def stop(self) -> None:
        """Ask all of them to end, the last started first; kill what is left after PATIENCE."""
        for child in reversed(self.running):
            child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < deadline:
            self.running = [child for child in self.running if child.group_alive()]
            time.sleep(0.05)
        for child in self.running:
            child.signal_group(signal.SIGKILL)
            child.process.wait()
        self.running = []
