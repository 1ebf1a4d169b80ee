"""The supervisor's rows: who holds a replica, how stale ones are taken over, and how much work waits for whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.pipeline.models import ModelServer, PumpLease, Task
from apps.pipeline.protocol import HeldBackError
from apps.pipeline.servers import FRESH_S, addresses
from apps.questions.models import Project
from apps.reasoning.models import Run
from tests.factories import make_project, make_question, make_run
from tests.workers.serving import served, served_config, served_endpoint
from workers.leases import owner_name
from workers.reconciler import lanes_with_work
from workers.serving import discovery
from workers.serving.rows import MOST_COUNTED, TakenError, beat, claim, work_for, write
from workers.simulation import resolve

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(seconds=FRESH_S + 1)


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture(autouse=True)
def _fresh_addresses() -> Iterator[None]:
    discovery.forget_addresses()
    yield
    discovery.forget_addresses()


def make_server(project: Project, endpoint: str = "judge", replica: int = 0, **fields: Any) -> ModelServer:
    defaults = {
        "host": "elsewhere:1:1",
        "url": f"http://10.0.0.1:{8000 + replica}/v1",
        "model": f"m-{endpoint}",
        "state": "ready",
        "seen_at": timezone.now(),
    }
    return ModelServer.objects.create(project=project, endpoint=endpoint, replica=replica, **(defaults | fields))


def claim_judge(project: Project) -> tuple[ModelServer, int | None]:
    return claim(project=project, endpoint="judge", replica=0, model="m-judge")


def test_a_new_replica_is_ours(project: Project) -> None:
    row, left = claim_judge(project)
    row.refresh_from_db()
    assert (row.host, row.state, row.model, left) == (owner_name(), "stopped", "m-judge", None)


def test_another_hosts_fresh_row_is_refused(project: Project) -> None:
    make_server(project)
    with pytest.raises(TakenError, match=r"judge/0 is looked after .*elsewhere"):
        claim_judge(project)
    assert ModelServer.objects.get().state == "ready"


def test_another_hosts_silent_row_is_taken_over(project: Project) -> None:
    make_server(project, seen_at=LONG_AGO, pid=77, restarts=5, log_tail="old")
    row, left = claim_judge(project)
    assert left is None, "its processes are not on this host"
    assert (row.host, row.state, row.pid, row.restarts, row.log_tail) == (owner_name(), "stopped", None, 0, "")


def this_host(pid: int, started: str = "0") -> str:
    return f"{owner_name().split(':')[0]}:{pid}:{started}"


def test_the_row_of_a_dead_supervisor_here_is_taken_at_once_with_its_server(project: Project) -> None:
    make_server(project, host=this_host(os.getpid(), "another start"), pid=4711)
    row, left = claim_judge(project)
    assert (row.host, left) == (owner_name(), 4711)


def test_the_row_of_a_living_supervisor_here_is_refused_however_quiet(project: Project) -> None:
    make_server(project, host=f"{owner_name()}", seen_at=LONG_AGO)
    other = ModelServer.objects.get()
    ModelServer.objects.filter(pk=other.pk).update(host=parent_name())
    with pytest.raises(TakenError):
        claim_judge(project)


def parent_name() -> str:
    from workers.leases import process_start

    return this_host(os.getppid(), process_start(os.getppid()))


def test_replicas_and_projects_do_not_meet(project: Project) -> None:
    make_server(project, replica=1)
    make_server(make_project("elsewhere"))
    assert claim_judge(project)[0].replica == 0


def test_writing_ends_where_another_took_over(project: Project) -> None:
    row, _ = claim_judge(project)
    assert write(row, {"state": "ready"})
    ModelServer.objects.update(host="elsewhere:1:1", seen_at=LONG_AGO)
    assert not write(row, {"state": "down"})
    beat([row])
    row.refresh_from_db()
    assert (row.state, row.seen_at) == ("ready", LONG_AGO)


def test_the_heartbeat(project: Project) -> None:
    row, _ = claim_judge(project)
    ModelServer.objects.update(seen_at=LONG_AGO)
    beat([row])
    assert ModelServer.objects.get().seen_at > LONG_AGO


# Addresses


def test_addresses_are_those_of_ready_fresh_servers_of_the_model(project: Project) -> None:
    make_server(project, replica=1)
    make_server(project, replica=0)
    make_server(project, replica=2, state="down")
    make_server(project, replica=3, seen_at=LONG_AGO)
    make_server(project, replica=4, model="another")
    make_server(make_project("elsewhere"), replica=5)
    both = ["http://10.0.0.1:8000/v1", "http://10.0.0.1:8001/v1"]
    assert addresses("judge", project=project, model="m-judge") == both
    assert len(addresses("judge", project=project)) == 3
    assert len(addresses("judge")) == 4
    assert addresses("other", project=project) == []


def test_a_call_without_a_server_is_held_back(project: Project) -> None:
    with pytest.raises(HeldBackError, match="endpoint judge: no model server is ready"):
        resolve(served_endpoint())


def test_addresses_are_looked_up_again_after_a_moment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(discovery.time, "monotonic", lambda: now[0])
    server = make_server(project)
    assert resolve(served_endpoint()) == server.url
    ModelServer.objects.update(url="http://10.0.0.2:1/v1")
    assert resolve(served_endpoint()) == server.url
    now[0] += discovery.CACHE_S
    assert resolve(served_endpoint()) == "http://10.0.0.2:1/v1"


@pytest.mark.django_db(transaction=True)
def test_addresses_inside_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first query is waited for, later ones run beside the loop, and a database that is away changes nothing."""
    now = [100.0]
    monkeypatch.setattr(discovery.time, "monotonic", lambda: now[0])
    server = make_server(make_project())

    async def ask() -> str:
        return resolve(served_endpoint())

    async def ask_later() -> str:
        now[0] += discovery.CACHE_S
        said = resolve(served_endpoint())
        discovery._asked["judge", "m-judge"].exception()
        return said

    assert asyncio.run(ask()) == server.url
    ModelServer.objects.update(url="http://10.0.0.2:1/v1")
    assert asyncio.run(ask_later()) == server.url
    assert asyncio.run(ask()) == "http://10.0.0.2:1/v1"
    monkeypatch.setattr(discovery, "addresses", mock_outage)
    assert asyncio.run(ask_later()) == "http://10.0.0.2:1/v1"
    now[0] += FRESH_S
    with pytest.raises(HeldBackError):
        asyncio.run(ask())


def mock_outage(*args: object, **fields: object) -> list[str]:
    raise OperationalError("the connection is lost")


# Work


def run_with_tasks(project: Project, tasks: dict[str, int], **fields: Any) -> Run:
    config = served_config(served("g1"), served("judge"))
    run = make_run(config=config.model_dump(mode="json"), project=project, **fields)
    questions = [make_question() for _ in range(max(tasks.values(), default=0))]
    Task.objects.bulk_create(
        Task(run=run, lane=lane, unit_id=question.pk) for lane, n in tasks.items() for question in questions[:n]
    )
    return run


def work(project: Project, **models: str) -> dict[str, int]:
    return work_for(project, [served_endpoint(name, model=model) for name, model in models.items()])


def test_work_is_counted_by_endpoint_over_its_stages_and_runs(project: Project) -> None:
    run_with_tasks(project, {"generate@g1": 3, "verify@judge": 2, "rank@judge": 1})
    run_with_tasks(project, {"generate@g1": 1})
    assert work(project, g1="m-g1", judge="m-judge") == {"g1": 4, "judge": 3}


def test_leased_tasks_count_and_idle_ones_do_not(project: Project) -> None:
    run = run_with_tasks(project, {"verify@judge": 3})
    lease = PumpLease.objects.create(
        lane="verify@judge", slot=0, owner="x", started_at=timezone.now(), expires_at=timezone.now()
    )
    ids = list(Task.objects.filter(run=run).values_list("pk", flat=True))
    Task.objects.filter(pk=ids[0]).update(state="leased", lease=lease)
    Task.objects.filter(pk=ids[1]).update(state="idle")
    assert work(project, judge="m-judge") == {"judge": 2}


@pytest.mark.parametrize("state", ["ready", "paused", "cancelled", "finished"])
def test_only_running_runs_have_work(project: Project, state: str) -> None:
    run_with_tasks(project, {"verify@judge": 1}, state=state)
    assert work(project, judge="m-judge") == {"judge": 0}


def test_a_run_with_another_model_by_that_name_is_not_ours(project: Project) -> None:
    run_with_tasks(project, {"verify@judge": 1})
    run_with_tasks(make_project("elsewhere"), {"verify@judge": 1})
    assert work(project, judge="another") == {"judge": 0}


def test_counting_ends_somewhere(project: Project) -> None:
    run = run_with_tasks(project, {})
    Task.objects.bulk_create(Task(run=run, lane="verify@judge", unit_id=n) for n in range(MOST_COUNTED + 5))
    assert work(project, judge="m-judge") == {"judge": MOST_COUNTED}


def test_a_lane_without_a_ready_server_gets_no_pump(project: Project) -> None:
    run_with_tasks(project, {"generate@g1": 1, "verify@judge": 1})
    assert lanes_with_work() == {}
    make_server(project)
    discovery.forget_addresses()
    assert lanes_with_work() == {"verify@judge": 0}
