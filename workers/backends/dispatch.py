"""One backend for all endpoints: each call goes through the transport that its endpoint names."""

from __future__ import annotations

from collections.abc import Callable

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import Backend, HeldBackError, ModelError, Reply, Request

ELSEWHERE_S = 30.0  # before a call that came to the wrong worker is taken up again
Resolve = Callable[[EndpointConfig], str]


class ByTransport:
    """`apps.pipeline.protocol.Backend`. A transport is loaded when its first call is made."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._open: dict[str, Backend] = {}

    async def complete(self, request: Request) -> Reply:
        name = request.endpoint.transport
        backend = self._open.get(name)
        if backend is None:
            backend = self._open[name] = _load(name, self._resolve)
        return await backend.complete(request)

    async def close(self) -> None:
        for backend in self._open.values():
            await backend.close()
        self._open.clear()


def _load(name: str, resolve: Resolve) -> Backend:
    if name == "lean":
        from workers.backends.openai_compatible import OpenAICompatible

        return OpenAICompatible(resolve)
    if name == "sdk":
        from workers.backends.openai_sdk import OpenAISDK

        return OpenAISDK(resolve)
    if name == "engine":
        raise HeldBackError("the endpoint's model runs in manage.py run_engine", ELSEWHERE_S)
    raise ModelError("refused", f"no single calls are made through the transport {name!r}")
