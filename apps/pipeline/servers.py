"""Reads of ModelServer: where a served endpoint can be reached, and what pages show of its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.pipeline.config import SERVED
from apps.pipeline.models import ModelServer, ServerState
from apps.questions.models import Project
from apps.reasoning.models import Run

FRESH_S = 30  # a supervisor that has not been heard of for so long is gone, and its rows mean nothing


def addresses(endpoint_name: str, *, project: Project | None = None, model: str = "") -> list[str]:
    """Base URLs of the endpoint's servers that are ready and fresh, by replica.

    With `model`, only of those that serve it: runs may give one name to different models.
    """
    found = ModelServer.objects.filter(
        endpoint=endpoint_name, state=ServerState.READY, seen_at__gt=timezone.now() - timedelta(seconds=FRESH_S)
    )
    if project is not None:
        found = found.filter(project=project)
    if model:
        found = found.filter(model=model)
    return list(found.order_by("replica").values_list("url", flat=True))


@dataclass(frozen=True, slots=True)
class Reading:
    """A server's figures, made for people; None where the server does not tell."""

    kv_use: float | None = None  # per cent, as are the rates
    running: int | None = None
    waiting: int | None = None
    preemptions: int | None = None
    prefix_hit_rate: float | None = None
    tokens_in_s: int | None = None
    tokens_out_s: int | None = None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A replica of a served endpoint; without `server`, nobody serves it yet."""

    endpoint: str
    model: str
    replica: int
    server: ModelServer | None
    state: str  # a ServerState, or "silent" (no heartbeat), "other" (it serves another model), "none"
    now: Reading

    @property
    def host(self) -> str:
        return self.server.host.partition(":")[0] if self.server else ""

    @property
    def ready(self) -> bool:
        return self.state == ServerState.READY


def servers_of(run: Run, *, logs: bool = False) -> list[ServerRow]:
    """The servers behind a run's served endpoints, in the configuration's order; none: it has no such endpoint."""
    served = {
        e["name"]: e
        for e in run.config.get("endpoints", ())
        if e.get("base_url") == SERVED and e.get("transport") != "engine"
    }
    if not served:
        return []
    found: dict[str, list[ModelServer]] = {}
    rows = ModelServer.objects.filter(project_id=run.project_id, endpoint__in=served).order_by("replica")
    for server in rows.defer("history", *(() if logs else ("log_tail",))):
        found.setdefault(server.endpoint, []).append(server)
    listed = []
    for name, endpoint in served.items():
        wanted = (endpoint.get("serve") or {}).get("replicas", 1)
        by_replica: dict[int, ModelServer | None] = dict.fromkeys(range(wanted))
        by_replica |= {server.replica: server for server in found.get(name, ())}
        listed += [_row(name, endpoint["model"], replica, server) for replica, server in sorted(by_replica.items())]
    return listed


def _row(name: str, model: str, replica: int, server: ModelServer | None) -> ServerRow:
    if server is None:
        return ServerRow(name, model, replica, None, "none", Reading())
    if server.seen_at <= timezone.now() - timedelta(seconds=FRESH_S):
        state = "silent"
    elif server.model != model:
        state = "other"
    else:
        state = server.state
    reading = reading_of(server.metrics) if state == ServerState.READY else Reading()
    return ServerRow(name, model, replica, server, state, reading)


def reading_of(metrics: Mapping[str, Any]) -> Reading:
    """Only numbers are taken: the rest of the column is a server's word."""

    def number(name: str) -> float | None:
        value = metrics.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def share(name: str) -> float | None:
        value = number(name)
        return None if value is None else round(100 * value, 1)

    def whole(name: str) -> int | None:
        value = number(name)
        return None if value is None else round(value)

    return Reading(
        kv_use=share("kv_use"),
        running=whole("running"),
        waiting=whole("waiting"),
        preemptions=whole("preemptions"),
        prefix_hit_rate=share("prefix_hit_rate"),
        tokens_in_s=whole("tokens_in_s"),
        tokens_out_s=whole("tokens_out_s"),
    )
