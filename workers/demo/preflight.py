"""What must hold before the demo does any work. Each refusal is one line for the person at the terminal."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

FREE_BYTES_NEEDED = 512 * 1024**2


class Refused(Exception):  # noqa: N818
    """The demo cannot start; nothing was done."""


def wanted_port(raw: str) -> int:
    if not raw.isdecimal() or not 1 <= int(raw) <= 65535:
        raise Refused(f"PORT={raw!r} is not a port (1 to 65535).")
    return int(raw)


def check_port_free(port: int, host: str = "127.0.0.1") -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise Refused(
                f"Port {port} on {host} cannot be used ({error.strerror}). Choose another: PORT={port + 1 if port < 65535 else 8001} make demo"
            ) from error


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_folder(var: Path) -> None:
    """`var` exists afterwards, can be written, and its disk has room."""
    try:
        var.mkdir(parents=True, exist_ok=True)
        if not os.access(var, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        free = shutil.disk_usage(var).free
    except OSError as error:
        raise Refused(f"{var} cannot be used: {error.strerror}. Set REASONMED_VAR to a folder of your own.") from error
    if free < FREE_BYTES_NEEDED:
        raise Refused(
            f"No disk space: {free // 1024**2} MB free in {var}, {FREE_BYTES_NEEDED // 1024**2} MB needed. "
            "Free some, or set REASONMED_VAR to a folder on another disk."
        )
