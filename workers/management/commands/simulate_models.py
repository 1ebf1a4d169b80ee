"""Serve simulated models to anyone who speaks the OpenAI protocol."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workers.simulated import (
    FaultError,
    Faults,
    KeySource,
    NoKeys,
    Simulator,
    SimulatorConfig,
    parse_faults,
    serve_until_signalled,
)
from workers.simulated.faults import KINDS
from workers.simulated.running import allow_many_connections


class Command(BaseCommand):
    help = (
        "Serve simulated models over the OpenAI protocol. They look the keys of imported questions up, so that their "
        "accuracy can be chosen; every reply is marked system_fingerprint=reasonmed-simulated."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=_port, default=0, help="0 picks a free one (default)")
        parser.add_argument("--seed", type=int, default=SimulatorConfig().seed)
        parser.add_argument("--words", type=int, default=SimulatorConfig().words, help="length of a path, about")
        parser.add_argument("--reasoning-apart", action="store_true", help="return reasoning_content beside content")
        parser.add_argument(
            "--no-keys", action="store_true", help="do not read the database; a hash picks the right option"
        )
        faults = parser.add_argument_group("faults", "probabilities of one attempt, drawn anew for each repetition")
        for kind in KINDS:
            faults.add_argument(f"--{kind.replace('_', '-')}", type=float, metavar="P", dest=kind)
        for name in ("latency_ms", "jitter_ms", "retry_after_s", "hang_s"):
            faults.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="N", dest=name)
        faults.add_argument(
            "--faults", type=Path, metavar="FILE", help="JSON as POST /faults takes it, with rates for single stages"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        allow_many_connections()
        config = SimulatorConfig(
            seed=options["seed"],
            words=options["words"],
            reasoning_apart=options["reasoning_apart"],
            faults=_faults(options),
        )
        simulator = Simulator(config, _keys(options))
        host, port = options["host"], options["port"]
        try:
            serve_until_signalled(simulator, host=host, port=port, ready=self._announce)
        except OSError as error:
            raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}", returncode=2) from error

    def _announce(self, base_url: str) -> None:
        self.stderr.write(f"Simulated models at {base_url}")
        self.stderr.flush()


def _keys(options: dict[str, Any]) -> KeySource:
    if options["no_keys"]:
        return NoKeys()
    from workers.simulated.keys import DatabaseKeys

    return DatabaseKeys()


def _faults(options: dict[str, Any]) -> Faults:
    """The file's faults, with those of the command line on top."""
    path: Path | None = options["faults"]
    try:
        data = orjson.loads(path.read_bytes()) if path else {}
        return parse_faults(
            {**data, **{name: options[name] for name in Faults.model_fields if options.get(name) is not None}}
        )
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", returncode=2) from error
    except (orjson.JSONDecodeError, TypeError) as error:
        raise CommandError(f"{path}: not a JSON object: {error}", returncode=2) from error
    except FaultError as error:
        raise CommandError(str(error), returncode=2) from error


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)
