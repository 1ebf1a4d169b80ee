"""`manage.py serve_models CONFIG`: starts vLLM for the served endpoints of a configuration and looks after it."""

from __future__ import annotations

import os
import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.pipeline.config import ConfigError, EndpointConfig, RunConfig, load_config
from apps.questions.access import default_project
from workers.serving.command import ServeError, build_argv, check_endpoint, devices_of, find_python, serve_of
from workers.serving.replica import Timing
from workers.serving.rotation import Patience
from workers.serving.rows import TakenError
from workers.serving.supervisor import Options, Supervisor


class Command(BaseCommand):
    help = (
        'Start and supervise vLLM for every endpoint with base_url = "served" in a run\'s configuration, until stopped. '
        "REASONMED_VLLM_PYTHON names the Python that has vLLM. See docs/serving.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("config", type=Path, metavar="CONFIG", help="a run's configuration (TOML)")
        parser.add_argument("--endpoint", action="append", default=[], metavar="NAME", help="only this one; repeatable")
        parser.add_argument("--show", action="store_true", help="print the command lines and start nothing")
        parser.add_argument("--advertise", default="", metavar="HOST", help="the name by which workers reach this host")
        parser.add_argument("--first-replica", type=int, default=0, metavar="N", help="number of this host's first one")
        times, turns = Timing(), Patience()
        parser.add_argument("--poll", type=float, default=times.poll_s, metavar="S", help="between health checks")
        parser.add_argument("--start-timeout", type=float, default=times.start_timeout_s, metavar="S")
        parser.add_argument(
            "--hang-checks", type=int, default=times.hang_checks, metavar="N", help="unanswered in a row"
        )
        parser.add_argument("--grace", type=float, default=times.grace_s, metavar="S", help="from asking to killing")
        parser.add_argument(
            "--switch-empty", type=float, default=turns.empty_s, metavar="S", help="idle before a switch"
        )
        parser.add_argument("--switch-least", type=int, default=turns.least, metavar="N", help="tasks worth a switch")
        parser.add_argument(
            "--switch-longest", type=float, default=turns.longest_s, metavar="S", help="fewer wait so long"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = load_config(options["config"])
            endpoints = choose_endpoints(config, options["endpoint"])
            if options["show"]:
                self._show(endpoints)
                return
            self._warn(endpoints)
            Supervisor(config, endpoints, project=default_project(), options=options_from(options), say=self._say).run()
        except (ConfigError, ServeError, TakenError) as error:
            raise CommandError(str(error), returncode=2) from error

    def _say(self, text: str) -> None:
        self.stderr.write(text, lambda line: line)  # news, not errors: not in red
        self.stderr.flush()

    def _show(self, endpoints: Sequence[EndpointConfig]) -> None:
        python = find_python(os.environ)
        for endpoint in endpoints:
            check_endpoint(endpoint, os.environ)
            serve = serve_of(endpoint)
            for number in range(serve.replicas):
                devices = ",".join(map(str, devices_of(serve, number)))
                before = f"CUDA_VISIBLE_DEVICES={devices} " if devices else ""
                port = serve.port + number if serve.port else 0  # 0 stands for one that is free
                self.stdout.write(f"{before}{shlex.join(build_argv(endpoint, port=port, python=python))}")

    def _warn(self, endpoints: Sequence[EndpointConfig]) -> None:
        """What is allowed and seldom meant."""
        for endpoint in endpoints:
            serve = serve_of(endpoint)
            if serve.host not in ("127.0.0.1", "::1", "localhost") and not endpoint.api_key_env:
                self._say(f"{endpoint.name}: listens on {serve.host} without a key; name a variable in api_key_env")
        for number, one in enumerate(endpoints):
            for other in endpoints[number + 1 :]:
                mine, theirs = serve_of(one), serve_of(other)
                both = sorted(set(mine.gpus) & set(theirs.gpus))
                if both and not (mine.rotate and mine.rotate == theirs.rotate):
                    self._say(f"{one.name} and {other.name} share devices {both} at the same time; see serve.rotate")


def choose_endpoints(config: RunConfig, names: Sequence[str]) -> list[EndpointConfig]:
    served = {endpoint.name: endpoint for endpoint in config.endpoints if endpoint.served}
    if not served:
        raise ServeError('no endpoint has base_url = "served": there is nothing to serve')
    if unknown := [name for name in names if name not in served]:
        raise ServeError(f"no served endpoint is named {', '.join(unknown)}; there are {', '.join(served)}")
    return [endpoint for name, endpoint in served.items() if not names or name in names]


def options_from(given: dict[str, Any]) -> Options:
    for name in ("poll", "start_timeout", "grace", "hang_checks"):
        if not given[name] > 0:
            raise ServeError(f"--{name.replace('_', '-')}: more than 0")
    if given["first_replica"] < 0:
        raise ServeError("--first-replica: 0 or more")
    timing = replace(
        Timing(),
        poll_s=given["poll"],
        start_poll_s=min(given["poll"], Timing().start_poll_s),
        start_timeout_s=given["start_timeout"],
        hang_checks=given["hang_checks"],
        grace_s=given["grace"],
    )
    patience = Patience(empty_s=given["switch_empty"], least=given["switch_least"], longest_s=given["switch_longest"])
    return Options(
        var=settings.VAR_DIR,
        first_replica=given["first_replica"],
        advertise=given["advertise"],
        timing=timing,
        patience=patience,
    )
