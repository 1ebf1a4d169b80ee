"""Simulated models: an OpenAI-compatible server of our own, so that everything can be tried without a GPU or a key."""

from workers.simulated.ability import PROFILES
from workers.simulated.faults import FaultError, Faults, Rates, parse_faults
from workers.simulated.running import RunningSimulator, serve_until_signalled, start_in_thread
from workers.simulated.server import KeySource, KeysUnavailableError, NoKeys, Simulator, SimulatorConfig

__all__ = [
    "PROFILES",
    "FaultError",
    "Faults",
    "KeySource",
    "KeysUnavailableError",
    "NoKeys",
    "Rates",
    "RunningSimulator",
    "Simulator",
    "SimulatorConfig",
    "parse_faults",
    "serve_until_signalled",
    "start_in_thread",
]
