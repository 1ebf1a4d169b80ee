"""A server's processes: started under their guard, asked to stop, and looked for when nobody guards them any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from workers.serving.command import MARK_ENV

GUARD = Path(__file__).with_name("guard.py")
LOG_BYTES, LOGS_KEPT = 16 * 1024 * 1024, 4
GRACE_S = 20.0  # between asking a server to stop and killing it


class ServerProcess:
    """One server and everything it starts. `pid` is its guard's, and the number of its process group and session."""

    def __init__(self, process: Process, mark: str, grace_s: float) -> None:
        self._process, self._mark, self._grace_s = process, mark, grace_s

    @classmethod
    async def start(
        cls, argv: Sequence[str], env: Mapping[str, str], log: Path, *, mark: str, grace_s: float = GRACE_S
    ) -> ServerProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-I", str(GUARD), str(log), str(LOG_BYTES), str(LOGS_KEPT), str(grace_s), *argv]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=DEVNULL, env=dict(env), start_new_session=True
        )
        return cls(process, mark, grace_s)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def exited(self) -> int:
        """Wait for its end; its exit code, 128 and the signal's number when it was killed."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def stop(self, *, now: bool = False) -> None:
        """Until nothing of it is left. `now`: it hangs, so it is not asked first."""
        if now:
            signal_group(self.pid, signal.SIGKILL)
        elif self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), self._grace_s + 15)
        except TimeoutError:
            signal_group(self.pid, signal.SIGKILL)
        await asyncio.to_thread(kill_leftovers, self._mark, self.pid)


def kill_leftovers(mark: str, session: int | None) -> int:
    """Kill what a guard that was itself killed left behind; how many there were."""
    left = leftovers(mark, session)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return len(left)


def leftovers(mark: str, session: int | None) -> list[psutil.Process]:
    """Processes of this server, by the mark in their environment; by their session where a title has overwritten it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            marked = process.environ().get(MARK_ENV) == mark
            ours = session is not None and os.getsid(process.pid) == session and "vllm" in titles(process)
            if marked or ours:
                found.append(process)
    return found


def titles(process: psutil.Process) -> str:
    return " ".join([process.name(), *process.cmdline()]).lower()


def signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
