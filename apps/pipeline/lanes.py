"""Lanes: a stage on an endpoint (`verify@judge`), and which lane an item of work belongs to."""

from __future__ import annotations

from apps.pipeline.config import RunConfig
from apps.reasoning.policy.assess import Item

STAGES = ("generate", "verify", "rank", "refine", "regenerate", "reverify", "summarise")
# What may become possible when an output of a stage arrives.
DOWNSTREAM: dict[str, tuple[str, ...]] = {
    "generate": ("verify",),
    "verify": ("rank", "refine", "regenerate", "summarise"),
    "rank": ("refine", "summarise"),
    "refine": ("reverify",),
    "regenerate": ("reverify",),
    "reverify": ("refine", "regenerate", "summarise"),
    "summarise": (),
}
_ROLE = {
    "verify": "judge",
    "reverify": "judge",
    "rank": "ranker",
    "refine": "refiner",
    "regenerate": "regenerator",
    "summarise": "summariser",
}


def endpoint_name(config: RunConfig, stage: str, generator: str = "") -> str:
    if stage == "generate":
        return next(g.endpoint for g in config.generators if g.name == generator)
    return str(getattr(config, _ROLE[stage]).endpoint)


def lane_of(config: RunConfig, item: Item) -> str:
    return f"{item.stage}@{endpoint_name(config, item.stage, item.generator)}"


def lanes_of(config: RunConfig) -> list[str]:
    """Every lane of a run, in the order of the stages."""
    generate = [] if config.imported or config.paths_from else [f"generate@{g.endpoint}" for g in config.generators]
    return list(dict.fromkeys(generate + [f"{s}@{endpoint_name(config, s)}" for s in STAGES[1:]]))


def engine_lanes(config: RunConfig) -> list[str]:
    """Those of endpoints with transport "engine": `run_engine` works on them, no other worker does."""
    return [lane for lane in lanes_of(config) if config.endpoint(lane.split("@")[1]).transport == "engine"]
