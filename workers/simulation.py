"""Where endpoints listen: those of `base_url = "simulated"` at REASONMED_SIMULATOR_URL, else at a server of our own."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from django.conf import settings

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import Backend
from workers.backends.dispatch import ByTransport
from workers.serving.discovery import served_address, served_addresses

_lock = threading.Lock()
_started: dict[str, str] = {}


def make_backend() -> Backend:
    return ByTransport(resolve)


def addresses_of(endpoint: EndpointConfig) -> list[str]:
    """Where the endpoint's replicas are now; its own address stands as it is configured."""
    return served_addresses(endpoint) if endpoint.served else [endpoint.base_url, *endpoint.replicas]


def resolve(endpoint: EndpointConfig) -> str:
    """Raises HeldBackError where `serve_models` has no server ready."""
    if endpoint.served:
        return served_address(endpoint)
    return simulator_url() if endpoint.simulated else endpoint.base_url


def simulator_url() -> str:
    if url := os.environ.get("REASONMED_SIMULATOR_URL"):
        return url.rstrip("/")
    with _lock:
        if "url" not in _started:
            _started["url"] = _start()
        return _started["url"]


def _start() -> str:
    """Start `simulate_models` on a free port as a child that dies with this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "simulate_models", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),
    )
    atexit.register(child.terminate)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return f"http://127.0.0.1:{port}/v1"
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The simulated models did not start; try `manage.py simulate_models` by hand to see why.")
