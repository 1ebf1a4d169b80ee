"""Hosts of a test: network namespaces on a bridge, whose links can be cut. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"rm-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False).returncode == 0


class Network:
    """`hosts` namespaces; what runs outside them is reached at `gateway`. All is gone at the end."""

    def __init__(self, hosts: int) -> None:
        self.hosts = hosts
        self.tag = f"rm{os.getpid() % 100_000}"
        third = os.getpid() % 250
        self.gateway = f"10.231.{third}.1"
        self.addresses = [f"10.231.{third}.{host + 2}" for host in range(hosts)]

    def __enter__(self) -> Network:
        ip("link", "add", self.tag, "type", "bridge")
        ip("addr", "add", f"{self.gateway}/24", "dev", self.tag)
        ip("link", "set", self.tag, "up")
        for host, address in enumerate(self.addresses):
            space, link = self._space(host), self._link(host)
            ip("netns", "add", space)
            ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", link, "master", self.tag, "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for host in range(self.hosts):
            subprocess.run(["ip", "netns", "del", self._space(host)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.tag], capture_output=True, check=False)

    def inside(self, host: int) -> tuple[str, ...]:
        """In front of a command: it runs on that host, with a name of its own."""
        return ("ip", "netns", "exec", self._space(host), "unshare", "--uts", "sh", "-c", f'hostname {self.name(host)}; exec "$@"', "sh")  # fmt: skip

    def name(self, host: int) -> str:
        return f"host-{host + 1}"

    def cut(self, host: int) -> None:
        """No packet gets through any more, and nobody is told."""
        ip("link", "set", self._link(host), "down")

    def mend(self, host: int) -> None:
        ip("link", "set", self._link(host), "up")

    def _space(self, host: int) -> str:
        return f"{self.tag}-{host}"

    def _link(self, host: int) -> str:
        return f"{self.tag}v{host}"
