"""Reads of ModelServer: where a served endpoint can be reached, and what pages show of its servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db.models.functions import Now
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
        endpoint=endpoint_name, state=ServerState.READY, seen_at__gt=Now() - timedelta(seconds=FRESH_S)
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


def is_served(endpoint: Mapping[str, Any]) -> bool:
    """EndpointConfig.served for an endpoint as a run's frozen configuration holds it."""
    return endpoint.get("base_url") == SERVED and endpoint.get("transport") != "engine"


class RowState(StrEnum):
    """A ServerState as a person reads it; only a fresh row is believed."""

    READY = "ready"
    STARTING = "starting"
    DOWN = "down"
    WAITING = "waiting"  # for its turn on devices it shares
    OTHER = "other"  # it serves another model by this name
    SILENT = "silent"  # its supervisor has not been heard of
    STOPPED = "stopped"
    NONE = "none"  # never started


CHIPS = {  # kind, picture, word
    RowState.READY: ("live", "play", "Ready"),
    RowState.STARTING: ("plain", "clock", "Starting"),
    RowState.DOWN: ("warn", "warn", "Down, tried again"),
    RowState.WAITING: ("plain", "pause", "Waits for its turn"),
    RowState.OTHER: ("warn", "warn", "Serves another model"),
    RowState.SILENT: ("warn", "warn", "Not heard from"),
    RowState.STOPPED: ("plain", "stop", "Stopped"),
    RowState.NONE: ("plain", "none", "Not started"),
}
SPARK_WIDTH, SPARK_HEIGHT = 60, 14


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A replica of a served endpoint; without `server`, it was never started."""

    endpoint: str
    model: str
    replica: int
    server: ModelServer | None
    state: RowState
    now: Reading

    @property
    def host(self) -> str:
        return self.server.host.partition(":")[0].partition("@")[0] if self.server else ""

    @property
    def chip(self) -> tuple[str, str, str]:
        return CHIPS[self.state]

    @property
    def ready(self) -> bool:
        return self.state == RowState.READY

    @property
    def spark(self) -> str:
        """Tokens written per second, reading by reading, as points of a line in SPARK_WIDTH × SPARK_HEIGHT."""
        if self.server is None or not self.ready:
            return ""
        readings = [*self.server.history, self.server.metrics][-SPARK_WIDTH:]
        return spark_points([_number(reading, "tokens_out_s") or 0.0 for reading in readings])


class ServerRows(list[ServerRow]):
    @property
    def unserved(self) -> list[str]:
        """Endpoints that nobody looks after now."""
        away = (RowState.NONE, RowState.STOPPED, RowState.SILENT, RowState.OTHER)
        served = {row.endpoint for row in self if row.state not in away}
        return list(dict.fromkeys(row.endpoint for row in self if row.endpoint not in served))


def servers_of(run: Run, *, logs: bool = False) -> ServerRows:
    """The servers behind a run's served endpoints, in the configuration's order; none: it has no such endpoint.

    Without `logs` what a server said is not read.
    """
    served = {e["name"]: e for e in run.config.get("endpoints", ()) if is_served(e)}
    if not served:
        return ServerRows()
    found: dict[str, list[ModelServer]] = {}
    rows = ModelServer.objects.filter(project_id=run.project_id, endpoint__in=served).order_by("replica")
    for server in rows if logs else rows.defer("log_tail", "last_error"):
        found.setdefault(server.endpoint, []).append(server)
    listed = ServerRows()
    for name, endpoint in served.items():
        serve = endpoint.get("serve") or {}
        replicas: dict[int, ModelServer | None] = dict.fromkeys(range(serve.get("replicas", 1)))
        replicas |= {server.replica: server for server in found.get(name, ())}
        for replica, known in sorted(replicas.items()):
            state = state_of(known, model=endpoint["model"], rotates=bool(serve.get("rotate")))
            now = reading_of(known.metrics) if known and state == RowState.READY else Reading()
            listed.append(ServerRow(name, endpoint["model"], replica, known, state, now))
    return listed


def state_of(server: ModelServer | None, *, model: str, rotates: bool) -> RowState:
    if server is None:
        return RowState.NONE
    if server.seen_at <= timezone.now() - timedelta(seconds=FRESH_S):
        return RowState.STOPPED if server.state == ServerState.STOPPED else RowState.SILENT
    if server.model != model:
        return RowState.OTHER
    if server.state == ServerState.STOPPED:
        return RowState.WAITING if rotates else RowState.STOPPED
    return RowState(server.state)


def spark_points(values: Sequence[float]) -> str:
    """ "x,y x,y", the highest value at the top; nothing for fewer than two values."""
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    step = SPARK_WIDTH / (len(values) - 1)
    return " ".join(
        f"{n * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / top:.1f}" for n, value in enumerate(values)
    )


def reading_of(metrics: Mapping[str, Any]) -> Reading:
    def share(name: str) -> float | None:
        value = _number(metrics, name)
        return None if value is None else round(100 * value, 1)

    def whole(name: str) -> int | None:
        value = _number(metrics, name)
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


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    """Only a number is taken: the column holds a server's word."""
    value = metrics.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
