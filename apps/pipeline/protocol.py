"""What a stage asks of a model and what comes back; `workers.backends` speaks it to real servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from apps.pipeline.config import EndpointConfig

Message = dict[str, str]  # {"role": "system" | "user", "content": …}

ErrorClass = Literal[
    "connection",  # no connection, reset, timed out, stream cut
    "server",  # 5xx
    "rate_limit",  # 429
    "refused",  # 400, 422, …: the server will not take this request; never repeated
    "access",  # 401, 402, 403, 404, no quota, no key: nothing is to be had from the endpoint until a person puts it right
    "length",  # finish_reason=length: the reply was cut at the token cap
    "empty",  # a reply without text
    "schema",  # a reply that does not have the form asked for
]

TRANSIENT: frozenset[str] = frozenset({"connection", "server", "rate_limit"})
NOT_ITS_FAULT: frozenset[str] = TRANSIENT | {"access"}  # says nothing about the request


@dataclass(frozen=True, slots=True)
class Request:
    """One chat completion. `affinity` keeps all calls of one question on one replica."""

    endpoint: EndpointConfig
    messages: list[Message]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    schema: dict[str, Any] | None = None  # JSON schema of the reply, sent as response_format
    affinity: int = 0
    base_url: str = ""  # the replica chosen; empty: the endpoint's own address


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    reasoning: str = ""  # reasoning_content, where the server returns it apart
    finish_reason: str = "stop"
    model: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    fingerprint: str = ""  # system_fingerprint
    latency_ms: int = 0

    @property
    def simulated(self) -> bool:
        return self.fingerprint == SIMULATED_FINGERPRINT


SIMULATED_FINGERPRINT = "reasonmed-simulated"


@dataclass(slots=True)
class ModelError(Exception):
    """An attempt that gave no usable reply. `retry_after` is in seconds, when the server named it."""

    error_class: ErrorClass
    message: str
    status: int = 0
    retry_after: float | None = None
    latency_ms: int = 0
    reply: Reply | None = field(default=None)
    sent: bool = False  # the model may have answered, and been paid, though no reply came

    @property
    def maybe_billed(self) -> bool:
        return self.sent or self.status == 200

    def __str__(self) -> str:
        return f"{self.error_class}: {self.message}"


class HeldBackError(Exception):
    """Nothing was sent, through no fault of the request: its model rests, or the worker stops. `retry_in` in seconds."""

    def __init__(self, reason: str, retry_in: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_in = retry_in


class Backend(Protocol):
    """How requests reach a model server. `complete` raises ModelError for anything but a usable HTTP reply."""

    async def complete(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...
