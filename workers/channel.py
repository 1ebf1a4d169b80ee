"""What a pump sends through: the backend behind the limits of its endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import Backend, Reply, Request

InDb = Callable[..., Awaitable[Any]]


class Channel:
    """`in_db` runs a function in the pump's database thread; `replicas` names the addresses of an endpoint."""

    def __init__(
        self,
        lane: str,
        backend: Backend,
        in_db: InDb,
        stopping: Callable[[], bool],
        replicas: Callable[[EndpointConfig], list[str]] | None = None,
    ) -> None:
        self.lane = lane
        self.backend = backend

    async def send(self, request: Request) -> Reply:
        return await self.backend.complete(request)
