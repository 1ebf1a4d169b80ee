"""A worker for lanes on vLLM in this process: it starts engines where there is work and pumps on them.

It needs no broker: it looks into the ledger itself. Several may run, on one host or many; a lane is pumped by one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import close_old_connections, connection

from apps.pipeline.config import EndpointConfig, RunConfig
from apps.pipeline.lanes import engine_lanes
from apps.reasoning.models import Run, RunState
from workers.backends.vllm_engine import EngineError, Engines, VllmEngine, engine_options
from workers.pump import Pump
from workers.reconciler import tidy_up
from workers.serving.warden import start_warden

log = logging.getLogger(__name__)
PERIOD_S = 1.0
FALLS = 5  # times that an engine may die before the worker gives up
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0  # before it is started again


@dataclass(slots=True)
class Work:
    """A lane of a running run with open tasks, and the endpoint as that run has it."""

    lane: str
    endpoint: EndpointConfig
    elsewhere: bool  # another process pumps the lane


@dataclass
class EngineWorker:
    """`only`: the endpoints to serve, empty for all. `say` tells the person at the terminal."""

    only: frozenset[str]
    stop: threading.Event
    say: Callable[[str], None]
    engines: Engines = field(default_factory=Engines)
    pumps: dict[str, threading.Thread] = field(default_factory=dict)
    served: dict[tuple[str, ...], EndpointConfig] = field(default_factory=dict)  # engines that are up
    falls: dict[tuple[str, ...], list[float]] = field(default_factory=dict)  # when each died

    def run(self, *, until_finished: bool = False) -> None:
        """Until stopped, or until no running run has a lane of ours. Raises EngineError, with all leases given back."""
        warden = start_warden()
        try:
            while not self.stop.is_set():
                close_old_connections()
                tidy_up()
                configs = self.running_configs()
                if until_finished and not any(self.lanes_of(config) for config in configs.values()):
                    return
                self.serve(open_work(configs, self.lanes_of))
                self.stop.wait(PERIOD_S)
        finally:
            self.stop.set()
            for thread in self.pumps.values():
                thread.join()
            self.engines.stop_all()
            warden.communicate()

    def running_configs(self) -> dict[int, RunConfig]:
        runs = Run.objects.filter(state=RunState.RUNNING).order_by("id")
        return {run.pk: RunConfig.model_validate(run.config) for run in runs}

    def lanes_of(self, config: RunConfig) -> dict[str, EndpointConfig]:
        found = {lane: config.endpoint(lane.split("@")[1]) for lane in engine_lanes(config)}
        return {lane: endpoint for lane, endpoint in found.items() if not self.only or endpoint.name in self.only}

    def serve(self, work: list[Work]) -> None:
        """One round: an engine for each piece of work, a pump for each lane."""
        self.pumps = {lane: thread for lane, thread in self.pumps.items() if thread.is_alive()}
        for one in work:
            ours = one.lane in self.pumps
            if self.stop.is_set() or (one.elsewhere and not ours) or not self.bring_up(one.endpoint):
                continue
            if not ours:
                thread = threading.Thread(target=self.pump, args=(one.lane,), name=one.lane)
                self.pumps[one.lane] = thread
                thread.start()

    def bring_up(self, endpoint: EndpointConfig) -> bool:
        """Whether the endpoint's engine is up, after starting it if it may be now."""
        options = engine_options(endpoint)
        engine = self.engines.find(endpoint)
        if engine is not None and not engine.dead:
            return True
        if engine is not None:
            self.bury(endpoint)
        falls = self.falls.get(options, [])
        pause = min(FIRST_PAUSE_S * 2 ** len(falls), LONGEST_PAUSE_S)
        if (falls and time.monotonic() - falls[-1] < pause) or not self.make_room(endpoint):
            return False
        self.say(f"{endpoint.name}: loading {endpoint.serve.model if endpoint.serve else ''} …")
        began = time.monotonic()
        self.engines.start(endpoint)
        self.served[options] = endpoint
        self.say(f"{endpoint.name}: ready after {time.monotonic() - began:.0f} s")
        return True

    def bury(self, endpoint: EndpointConfig) -> None:
        """Take note of a dead engine. Raises EngineError when it was one too many."""
        options = engine_options(endpoint)
        self.engines.stop(endpoint)
        self.served.pop(options, None)
        self.falls.setdefault(options, []).append(time.monotonic())
        if len(self.falls[options]) > FALLS:
            raise EngineError(f"{endpoint.name}: vLLM died {FALLS + 1} times; its output above tells why")
        self.say(f"{endpoint.name}: vLLM died; it is started again")

    def make_room(self, endpoint: EndpointConfig) -> bool:
        """Engines of one `rotate` group take turns: another's is stopped once its lanes are empty."""
        group = endpoint.serve.rotate if endpoint.serve else ""
        for options, other in list(self.served.items()):
            if not group or other.serve is None or other.serve.rotate != group:
                continue
            if any(lane.endswith(f"@{other.name}") for lane in self.pumps):
                return False
            self.say(f"{other.name}: makes room for {endpoint.name}")
            self.engines.stop(other)
            del self.served[options]
        return True

    def pump(self, lane: str) -> None:
        try:
            Pump(lane, 0, lambda: VllmEngine(self.engines), self.stop.is_set).run()
        except Exception as error:  # the ledger is away, say: the next round starts another pump
            log.warning("%s: %s: %s", lane, type(error).__name__, str(error).split("\n")[0])
        finally:
            connection.close()


def open_work(configs: dict[int, RunConfig], lanes: Callable[[RunConfig], dict[str, EndpointConfig]]) -> list[Work]:
    """Open tasks of the runs in these lanes, oldest run first."""
    wanted = {(run, lane): endpoint for run, config in configs.items() for lane, endpoint in lanes(config).items()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT w.run, w.lane, EXISTS (SELECT 1 FROM pipeline_pumplease p WHERE p.lane = w.lane AND p.expires_at > now())
            FROM unnest(%s::bigint[], %s::text[]) WITH ORDINALITY AS w(run, lane, place)
            WHERE EXISTS (SELECT 1 FROM pipeline_task t WHERE t.run_id = w.run AND t.lane = w.lane AND t.state = 'ready')
               OR EXISTS (SELECT 1 FROM pipeline_pumplease p JOIN pipeline_task t ON t.lease_id = p.id
                          WHERE p.lane = w.lane AND t.run_id = w.run)
            ORDER BY w.place""",
            [[run for run, _ in wanted], [lane for _, lane in wanted]],
        )
        return [Work(lane, wanted[run, lane], taken) for run, lane, taken in cursor.fetchall()]
