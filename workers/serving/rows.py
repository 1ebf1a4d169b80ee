"""The supervisor's side of the ledger: its rows of ModelServer, and how much work waits for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from apps.pipeline.clock import database_now
from apps.pipeline.config import EndpointConfig
from apps.pipeline.lanes import STAGES
from apps.pipeline.models import ModelServer, ServerState
from apps.pipeline.servers import FRESH_S, is_served
from apps.questions.models import Project
from apps.reasoning.models import Run, RunState
from workers.leases import owner_name, place, process_start

MOST_COUNTED = 1_000  # tasks of a lane; more makes no difference to whose turn it is


class TakenError(RuntimeError):
    """Another supervisor looks after this replica."""


@transaction.atomic
def claim(*, project: Project, endpoint: str, replica: int, model: str) -> tuple[ModelServer, int | None]:
    """The replica's row, ours from now on, and the pid of a server that a dead supervisor on this host left in it.

    Raises TakenError while the one who holds it is alive: on this host if its process is there, elsewhere if it was
    heard of in the last 30 s.
    """
    owner = owner_name()
    now = database_now()
    row, created = ModelServer.objects.select_for_update().get_or_create(
        project=project,
        endpoint=endpoint,
        replica=replica,
        defaults={"host": owner, "model": model, "state": ServerState.STOPPED, "seen_at": now},
    )
    left = None
    if not created and row.host != owner:
        if is_alive(row):
            raise TakenError(
                f"{endpoint}/{replica} is looked after by another serve_models already ({row.host}). Stop that one, "
                "or serve other endpoints (--endpoint) or further replicas (--first-replica) here."
            )
        left = row.pid if row.host.split(":")[0] == place() else None
    row.host, row.model, row.state, row.seen_at = owner, model, ServerState.STOPPED, now
    row.url, row.pid, row.restarts, row.last_error, row.log_tail = "", None, 0, "", ""
    row.metrics, row.history, row.started_at = {}, [], None
    row.save()
    return row, left


def is_alive(row: ModelServer) -> bool:
    """Whether the row's supervisor still is: known for this host, believed for 30 s of another."""
    host, pid, started = (*row.host.split(":"), "", "")[:3]
    if host == place() and pid.isdigit():
        return process_start(int(pid)) == started
    return row.seen_at > database_now() - timedelta(seconds=FRESH_S)


def write(row: ModelServer, fields: Mapping[str, Any]) -> bool:
    """Write what is known about a server; False when the row is not ours any more."""
    return ModelServer.objects.filter(pk=row.pk, host=row.host).update(**fields, seen_at=Now()) == 1


def beat(rows: Iterable[ModelServer]) -> None:
    """The heartbeat, also of those that wait for their turn."""
    ModelServer.objects.filter(pk__in=[row.pk for row in rows], host=owner_name()).update(seen_at=Now())


def work_for(project: Project, endpoints: Iterable[EndpointConfig]) -> dict[str, int]:
    """{endpoint: its ready and leased tasks in running runs that have it served with this model}, up to MOST_COUNTED a lane."""
    models = {endpoint.name: endpoint.model for endpoint in endpoints}
    found = dict.fromkeys(models, 0)
    for run_id, config in Run.objects.filter(project=project, state=RunState.RUNNING).values_list("id", "config"):
        for endpoint in config["endpoints"]:
            name = endpoint["name"]
            if is_served(endpoint) and models.get(name) == endpoint["model"]:
                found[name] += open_tasks(run_id, name)
    return found


def open_tasks(run_id: int, endpoint: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(n), 0) FROM (SELECT stage || '@' || %s AS lane FROM unnest(%s::text[]) stage) l,"
            " LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM pipeline_task t WHERE t.run_id = %s AND t.lane = l.lane"
            " AND t.state = 'ready' LIMIT %s) few"
            " UNION ALL SELECT count(*) FROM pipeline_task t JOIN pipeline_pumplease p ON p.id = t.lease_id"
            " WHERE p.lane = l.lane AND t.run_id = %s AND t.state = 'leased') counted",
            [endpoint, list(STAGES), run_id, MOST_COUNTED, run_id],
        )
        return int(cursor.fetchone()[0])
