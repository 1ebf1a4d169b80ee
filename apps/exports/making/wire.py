"""Messages between a builder and its readers, over a socket that only the two have."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_COUNT = struct.Struct(">I")
_PIECE = 1 << 20  # bytes handed to the system at once


class Wire:
    """Objects, in order. What is large in them (`Lines`) goes beside the pickle and is not copied more than it must be."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: Any) -> None:
        beside: list[pickle.PickleBuffer] = []
        data = pickle.dumps(message, protocol=5, buffer_callback=beside.append)
        parts = [memoryview(data), *(buffer.raw() for buffer in beside)]
        sizes = struct.pack(f">{len(parts)}Q", *map(len, parts))
        self._socket.sendall(_COUNT.pack(len(parts)) + sizes)
        for part in parts:
            for at in range(0, len(part), _PIECE):
                self._socket.sendall(part[at : at + _PIECE])

    def receive(self) -> Any:
        """Raises EOFError when the other one is gone."""
        (count,) = _COUNT.unpack(self._read(_COUNT.size))
        data, *beside = [self._read(size) for size in struct.unpack(f">{count}Q", self._read(8 * count))]
        return pickle.loads(data, buffers=beside)  # noqa: S301 - of our own process, by a socket without a name

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int) -> memoryview:
        view = memoryview(bytearray(size))
        got = 0
        while got < size:
            try:
                came = self._socket.recv_into(view[got:])
            except ConnectionError:
                came = 0
            if not came:
                raise EOFError
            got += came
        return view


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
