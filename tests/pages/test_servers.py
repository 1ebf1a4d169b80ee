"""Model servers on a run's page: what they are said to do, who sees their logs, and words that are not to be trusted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.pipeline.models import ModelServer
from apps.pipeline.servers import CHIPS, SPARK_HEIGHT, SPARK_WIDTH, RowState, reading_of, servers_of, spark_points
from apps.reasoning.models import Run
from tests.factories import make_project, make_run, make_user
from tests.pages.test_override import plain
from tests.workers.serving import served, served_config

pytestmark = pytest.mark.django_db
METRICS = {
    "kv_use": 0.4567, "running": 12.0, "waiting": 1234.0, "preemptions": 5.0, "prefix_hit_rate": 0.71,
    "tokens_in_s": 18250.4, "tokens_out_s": 2210.0,
}  # fmt: skip
HOSTILE = "<script>alert(1)</script>\n</pre><img src=x onerror=alert(2)>"


@pytest.fixture
def run() -> Run:
    return served_run(served("writer"), served("judge", replicas=2))


def served_run(*endpoints: dict[str, Any]) -> Run:
    return make_run(config=served_config(*endpoints).model_dump(mode="json"))


def make_server(run: Run, endpoint: str = "judge", replica: int = 0, **fields: Any) -> ModelServer:
    defaults = {
        "host": "node7:123:456",
        "url": "http://10.0.0.7:8000/v1",
        "model": f"m-{endpoint}",
        "state": "ready",
        "metrics": METRICS,
        "started_at": timezone.now() - timedelta(hours=3),
        "seen_at": timezone.now(),
    }
    return ModelServer.objects.create(project=run.project, endpoint=endpoint, replica=replica, **(defaults | fields))


def page(client: Client, run: Run, role: str = "curator", **headers: str) -> str:
    client.force_login(make_user(role))
    return client.get(reverse("run", args=(run.pk,)), headers=headers).text


def test_a_run_without_served_endpoints_has_no_such_table(client: Client) -> None:
    assert "Model servers" not in page(client, make_run())


def test_an_engine_of_the_offline_lane_is_no_server(client: Client) -> None:
    assert "Model servers" not in page(client, served_run({**served("judge"), "transport": "engine"}))


def test_figures_of_a_ready_server(client: Client, run: Run) -> None:
    make_server(run, restarts=2)
    text = plain(page(client, run))
    assert "judge replica 0 m-judge on node7 Ready since 3 h ago 45.7 % 12 1,234 5 71.0 % 18,250 2,210 2" in text
    assert "judge replica 1 m-judge Not started – – – – – – – –" in text
    assert "writer replica 0 m-writer Not started" in text


def test_the_live_part_has_it_too(client: Client, run: Run) -> None:
    make_server(run)
    text = page(client, run, **{"HX-Request": "true"})
    assert "<html" not in text
    assert "Model servers" in text


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, RowState.READY),
        ({"state": "starting"}, RowState.STARTING),
        ({"state": "down"}, RowState.DOWN),
        ({"state": "stopped"}, RowState.STOPPED),
        ({"seen_at": timezone.now() - timedelta(minutes=2)}, RowState.SILENT),
        ({"seen_at": timezone.now() - timedelta(minutes=2), "state": "stopped"}, RowState.STOPPED),
        ({"model": "another"}, RowState.OTHER),
    ],
)
def test_only_a_fresh_row_of_the_model_is_believed(client: Client, fields: dict[str, Any], state: RowState) -> None:
    run = served_run(served("judge"))
    make_server(run, **fields)
    rows = servers_of(run)
    assert [row.state for row in rows] == [state]
    text = plain(page(client, run))
    assert CHIPS[state][2] in text
    assert ("45.7 %" in text) == (state == RowState.READY)


def test_who_waits_for_a_turn_is_not_said_to_be_stopped() -> None:
    run = served_run(served("judge", rotate="node"))
    make_server(run, state="stopped")
    assert servers_of(run)[0].state == RowState.WAITING


def test_a_running_run_that_nobody_serves_says_what_to_do(client: Client, run: Run) -> None:
    make_server(run)
    text = plain(page(client, run))
    assert "Nobody serves writer: this run's calls to it wait" in text
    assert "serve_models CONFIG" in text
    make_server(run, "writer", state="starting")
    assert "Nobody serves" not in page(client, run)
    Run.objects.update(state="paused")
    ModelServer.objects.all().delete()
    assert "Nobody serves" not in page(client, run)


def test_logs_and_errors_are_for_curators(client: Client, run: Run) -> None:
    make_server(run, log_tail="INFO secret path /srv/models", last_error="ValueError: no memory")
    seen = page(client, run, "curator")
    assert "secret path" in seen
    assert "ValueError: no memory" in seen
    seen = page(client, run, "clinician")
    assert "secret path" not in seen
    assert "ValueError" not in seen
    assert "Model servers" in seen


def test_words_of_a_server_are_text(client: Client, run: Run) -> None:
    make_server(
        run, log_tail=HOSTILE, last_error=HOSTILE, host=f"{HOSTILE[:30]}:1:1", model="m-judge",
        metrics={"kv_use": HOSTILE, "running": [1], "waiting": None, "tokens_out_s": True},
        history=[{"tokens_out_s": HOSTILE}, {"tokens_out_s": 5}],
    )  # fmt: skip
    seen = page(client, run)
    assert "<script>alert" not in seen
    assert "<img src=x" not in seen
    assert "&lt;script&gt;alert(1)" in seen


def test_another_projects_servers_are_not_shown(run: Run) -> None:
    make_server(make_run(project=make_project("elsewhere")))
    assert {row.state for row in servers_of(run)} == {RowState.NONE}


def test_one_query_for_any_number_of_servers(run: Run, django_assert_num_queries: Any) -> None:
    for replica in range(4):
        make_server(run, replica=replica, history=[{"tokens_out_s": 1}, {"tokens_out_s": 2}])
    with django_assert_num_queries(1):
        rows = servers_of(run, logs=True)
        assert [(row.endpoint, row.replica, bool(row.spark)) for row in rows] == [
            ("writer", 0, False), ("judge", 0, True), ("judge", 1, True), ("judge", 2, True), ("judge", 3, True),
        ]  # fmt: skip


@given(st.dictionaries(st.sampled_from([*METRICS]), st.none() | st.booleans() | st.text() | st.floats(0, 1e15)))
def test_any_reading_can_be_shown(metrics: dict[str, Any]) -> None:
    reading = reading_of(metrics)
    assert all(
        getattr(reading, name) is None or isinstance(getattr(reading, name), int | float) for name in reading.__slots__
    )


@given(st.lists(st.floats(0, 1e15), max_size=SPARK_WIDTH))
def test_the_line_stays_in_its_frame(values: list[float]) -> None:
    points = [tuple(map(float, point.split(","))) for point in spark_points(values).split()]
    assert len(points) == (len(values) if len(values) > 1 else 0)
    assert all(0 <= x <= SPARK_WIDTH and 0 <= y <= SPARK_HEIGHT for x, y in points)
