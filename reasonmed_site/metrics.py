"""Prometheus metrics, read from the ledger's own counters: the same whichever web process is asked."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from apps.pipeline.clock import database_now
from apps.pipeline.models import BatchJob, BatchState, Failure, ModelServer, PumpLease, RunBudget, Task
from apps.reasoning.models import Run, RunCounter, RunState
from apps.reasoning.selectors import E8
from apps.review.models import ReviewQueue

VARIABLE = "REASONMED_METRICS_TOKEN"
RUNS = 20  # the latest ones and all that are running: label values must not grow without end
# counter key → (metric, names of the labels that the rest of the key gives)
COUNTED = {
    "calls": ("calls", ()),
    "records": ("records", ()),
    "cost_e8": ("cost", ()),
    "cost_e8:wasted": ("cost_wasted", ()),
    "cost_e8:unknown": ("cost_unknown", ()),
}
PREFIXED = {
    "failed:": ("failed_calls", "error_class"),
    "tier:": ("tier_questions", "tier"),
    "tokens_in:": ("tokens_in", "endpoint"),
    "tokens_out:": ("tokens_out", "endpoint"),
    "tokens_cached:": ("tokens_cached", "endpoint"),
    "cost_e8:stage:": ("stage_cost", "stage"),
    "worker:": ("worker_calls", "worker"),
}
GAUGES = {"records", "tier_questions"}  # they can fall: an override moves a question


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For those who send the token of the environment as `Authorization: Bearer …`; without a token set: nobody."""
    wanted = os.environ.get(VARIABLE, "")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
        return HttpResponse("Send the token of REASONMED_METRICS_TOKEN.\n", status=401, content_type="text/plain")
    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class LedgerCollector:
    """A fixed number of queries over small tables, whatever the size of the runs; ready work by an index alone."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from run_metrics()
        yield from lane_metrics()
        yield from server_metrics()
        yield from review_metrics()
        yield from database_metrics()


def run_metrics() -> Iterator[Metric]:
    latest = Run.objects.order_by("-pk").values("pk")[:RUNS]
    runs = dict(Run.objects.filter(Q(pk__in=latest) | Q(state=RunState.RUNNING)).values_list("pk", "name"))
    states = gauge("run_state", "1 for the state a run is in", "run", "state")
    for name, state in Run.objects.filter(pk__in=runs).values_list("name", "state"):
        states.add_metric([name, state], 1)
    yield states
    found: dict[str, Metric] = {}
    sums = RunCounter.objects.filter(run__in=runs).values_list("run", "key").annotate(sum=Sum("value"))
    for run, key, value in sums.order_by("run", "key"):
        for metric, labels, labelled in counted(key):
            family = found.setdefault(metric, new_family(metric, labels))
            amount = float(value * E8) if "cost" in metric else value
            family.add_metric([runs[run], *labelled], amount)  # type: ignore[attr-defined]
    yield from found.values()
    left = gauge("run_budget_left", "What a run may still spend, in its currency", "run")
    for budget in RunBudget.objects.filter(run__in=runs, hard__isnull=False).select_related("run"):
        left.add_metric([budget.run.name], float((budget.hard or Decimal(0)) - budget.spent - budget.reserved))
    yield left


def counted(key: str) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """(metric, names of its labels after `run`, their values) of a counter's key."""
    if key in COUNTED:
        metric, labels = COUNTED[key]
        yield metric, labels, []
    elif key.startswith("state:"):
        state, _, reason = key.removeprefix("state:").partition(":")
        yield "questions", ("state", "reason"), [state, reason]
    else:
        for prefix, (metric, label) in PREFIXED.items():
            if key.startswith(prefix):
                yield metric, (label,), [key.removeprefix(prefix)]


def new_family(metric: str, labels: tuple[str, ...]) -> Metric:
    name, words = f"reasonmed_{metric}", f"By run: {metric.replace('_', ' ')}, from the ledger's counters"
    make = GaugeMetricFamily if metric in {*GAUGES, "questions"} else CounterMetricFamily
    return make(name, words, labels=["run", *labels])


def lane_metrics() -> Iterator[Metric]:
    now = database_now()
    ready = gauge("lane_ready", "Units of work that wait in a lane of a running run", "lane")
    for lane, n in (
        Task.objects.filter(state="ready", run__state=RunState.RUNNING).values_list("lane").annotate(n=Count("pk"))
    ):
        ready.add_metric([lane], n)
    yield ready
    leased = gauge("lane_leased", "Units of work that a worker holds", "lane")
    pumps = gauge(
        "pumps",
        "Pumps at work in a lane; lapsed: their worker is gone and the lease is not taken up yet",
        "lane",
        "state",
    )
    alive = {True: "live", False: "lapsed"}
    for lane, expires_at, n in PumpLease.objects.annotate(n=Count("tasks")).values_list("lane", "expires_at", "n"):
        leased.add_metric([lane], n)
        pumps.add_metric([lane, alive[expires_at > now]], 1)
    yield from (merged(leased), merged(pumps))
    aside = gauge("set_aside", "Outputs set aside that nobody had tried again", "stage", "error_class")
    for stage, kind, n in (
        Failure.objects.filter(resolved_at__isnull=True).values_list("stage", "error_class").annotate(n=Count("pk"))
    ):
        aside.add_metric([stage, kind], n)
    yield aside
    away = gauge("batches_away", "Files at a provider's Batch API", "lane")
    for lane, n in BatchJob.objects.filter(state=BatchState.SUBMITTED).values_list("lane").annotate(n=Count("pk")):
        away.add_metric([lane], n)
    yield away


def server_metrics() -> Iterator[Metric]:
    up = gauge("model_server", "1 for the state a served model is in", "endpoint", "replica", "state")
    kv = gauge("model_server_kv_use", "Share of the KV cache in use", "endpoint", "replica")
    waiting = gauge("model_server_waiting", "Requests waiting in the server", "endpoint", "replica")
    for server in ModelServer.objects.all()[:1000]:
        at = [server.endpoint, str(server.replica)]
        up.add_metric([*at, server.state], 1)
        for family, name in ((kv, "kv_use"), (waiting, "waiting")):
            if isinstance(value := server.metrics.get(name), int | float):
                family.add_metric(at, value)
    yield from (up, kv, waiting)


def review_metrics() -> Iterator[Metric]:
    queues = gauge("review_queues", "Review queues by state", "state")
    for state, n in ReviewQueue.objects.values_list("state").annotate(n=Count("pk")):
        queues.add_metric([state], n)
    yield queues


def database_metrics() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone() or (0,)
        cursor.execute(
            "SELECT coalesce(state, 'none'), count(*), max(extract(epoch FROM now() - xact_start))"
            " FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1"
        )
        rows: list[Any] = cursor.fetchall()
    yield GaugeMetricFamily("reasonmed_database_bytes", "Size of the database", value=size)
    connections = gauge("database_connections", "Connections by state", "state")
    for state, n, _ in rows:
        connections.add_metric([state], n)
    yield connections
    oldest = max((float(age) for _, _, age in rows if age is not None), default=0.0)
    yield GaugeMetricFamily(
        "reasonmed_database_oldest_transaction_seconds", "Age of the oldest transaction", value=oldest
    )
    held = PumpLease.objects.aggregate(oldest=Min("expires_at"))["oldest"]
    lag = max((database_now() - held).total_seconds(), 0.0) if held else 0.0
    yield GaugeMetricFamily(
        "reasonmed_lease_lapsed_seconds", "How long the oldest lapsed lease waits to be taken up", value=lag
    )


def gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"reasonmed_{name}", words, labels=list(labels))


def merged(family: GaugeMetricFamily) -> GaugeMetricFamily:
    """Samples of the same labels as one: Prometheus refuses a scrape that names a series twice."""
    sums: dict[tuple[str, ...], float] = {}
    names = family._labelnames
    for sample in family.samples:
        key = tuple(sample.labels[name] for name in names)
        sums[key] = sums.get(key, 0.0) + sample.value
    one = GaugeMetricFamily(family.name, family.documentation, labels=names)
    for key, value in sums.items():
        one.add_metric(list(key), value)
    return one
