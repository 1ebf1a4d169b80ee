"""Ends what a process leaves behind when it is killed: vLLM's engine outlives the process that it works for.

A script of its own, started with a pipe as its standard input. It remembers the Python processes below its parent;
when the pipe ends, because the parent did, it kills those that still live.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import psutil

LOOK_S = 0.5


def start_warden() -> subprocess.Popen[bytes]:
    """It watches over the calling process until that ends; what is below that now, it has seen when this returns."""
    warden = subprocess.Popen([sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert warden.stdout is not None
    warden.stdout.readline()
    return warden


def watch(parent: psutil.Process) -> None:
    known: set[psutil.Process] = set()  # by number and start: a number used again is another process
    while True:
        with contextlib.suppress(psutil.Error):
            known |= {child for child in parent.children(recursive=True) if is_ours(child)}
        if not sys.stdout.closed:
            print("watching", flush=True)
            sys.stdout.close()
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            break
    for process in known:
        with contextlib.suppress(psutil.Error):
            if process.is_running():
                process.kill()


def is_ours(process: psutil.Process) -> bool:
    """Not the warden, and not PostgreSQL or another program that is meant to stay."""
    with contextlib.suppress(psutil.Error):
        return process.pid != os.getpid() and bool(process.exe() == str(Path(sys.executable).resolve()))
    return False


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to all; the pipe says when it is time
        signal.signal(number, signal.SIG_IGN)
    watch(psutil.Process(os.getppid()))
