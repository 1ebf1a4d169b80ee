"""Runs one model server and sees that nothing of it is left. A script of its own: the standard library is all it needs.

    guard.py LOG MAX_BYTES KEEP GRACE_S PROGRAM [ARGUMENT …]

It stands between the supervisor and the server, leads their process group, and takes in what the server leaves behind
(vLLM's engine outlives its API process). It writes what the server says to LOG, which it rotates. When its standard
input ends, because the supervisor closed it or died, or when it gets SIGTERM or SIGINT, it asks the server to stop and
kills all of it after GRACE_S seconds. When the server ends by itself, it kills the rest and ends with the same code.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CHUNK = 65_536
STARTED = "=== serve_models started this server ==="  # where its words begin in a log that older ones are in, too


class RotatingLog:
    """Never raises and never blocks the server: with a full disk its words are lost."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path, self.max_bytes, self.keep = path, max_bytes, keep
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.handle, data)
            if os.fstat(self.handle).st_size >= self.max_bytes:
                self.rotate()

    def rotate(self) -> None:
        for number in range(self.keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}.{number}").replace(f"{self.path}.{number + 1}")
        self.path.replace(f"{self.path}.1")
        new = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self.handle)
        self.handle = new


class Guard:
    def __init__(self, log: RotatingLog, grace_s: float, argv: list[str]) -> None:
        self.log, self.grace_s = log, grace_s
        self.code: int | None = None  # the server's, once it has ended
        self.asked_at: float | None = None
        wake_read, self.wake = os.pipe()
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.ask())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        us = os.getpid()
        self.server = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: die_with(us),
        )
        assert self.server.stdout is not None
        self.output = self.server.stdout.fileno()
        os.set_blocking(self.output, False)
        self.selector = selectors.DefaultSelector()
        for handle in (sys.stdin.fileno(), self.output, wake_read):
            self.selector.register(handle, selectors.EVENT_READ)

    def run(self) -> int:
        while self.code is None:
            for key, _ in self.selector.select(self.seconds_left()):
                self.read(key.fd)
            self.reap()
            if self.seconds_left() == 0:
                break
        self.kill_all()
        self.drain()
        return self.code if self.code is not None else 0

    def ask(self) -> None:
        """Ask the server to stop, once."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                self.server.send_signal(signal.SIGTERM)

    def seconds_left(self) -> float | None:
        return None if self.asked_at is None else max(0.0, self.asked_at + self.grace_s - time.monotonic())

    def read(self, handle: int) -> None:
        try:
            data = os.read(handle, CHUNK)
        except BlockingIOError:
            return
        if handle == self.output:
            self.log.write(data)
        if not data:
            self.selector.unregister(handle)
            if handle == sys.stdin.fileno():
                self.ask()

    def reap(self) -> None:
        """Take note of every child that ended, the server or what came to us from it."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.server.pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self.code = code if code >= 0 else 128 - code
                    self.server.returncode = self.code

    def kill_all(self) -> None:
        """SIGKILL to everything below us until there is nothing."""
        deadline = time.monotonic() + 10
        while (left := descendants(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            self.reap()

    def drain(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.output, CHUNK):
                self.log.write(data)


def die_with(parent: int) -> None:
    """Between fork and exec: default signals, and SIGKILL by the kernel when the guard dies."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Living processes below `root`, itself left out (Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found, level = [], [root]
    while level:
        level = [child for pid in level for child in children.get(pid, ())]
        found += level
    return found


def main(arguments: list[str]) -> int:
    path, max_bytes, keep, grace_s, *argv = arguments
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    log = RotatingLog(Path(path), int(max_bytes), int(keep))
    log.write(f"{STARTED} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    try:
        guard = Guard(log, float(grace_s), argv)
    except OSError as error:
        log.write(f"{argv[0]}: {error.strerror}\n".encode())
        return 127
    return guard.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
