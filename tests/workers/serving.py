"""Configurations with served endpoints, and the fake vLLM as a program, for tests of `serve_models`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from apps.pipeline.config import EndpointConfig, RunConfig, parse_config

FAKE = Path(__file__).with_name("fake_vllm.py")


def served(name: str = "judge", *, model: str = "", **serve: Any) -> dict[str, Any]:
    own = {key: serve.pop(key) for key in ("api_key_env", "max_in_flight", "timeout_s") if key in serve}
    return {"name": name, "base_url": "served", "model": model or f"m-{name}", "serve": serve, **own}


def served_endpoint(name: str = "judge", **fields: Any) -> EndpointConfig:
    return EndpointConfig.model_validate(served(name, **fields))


def served_config(*endpoints: dict[str, Any]) -> RunConfig:
    """One generator for each endpoint but "judge", which does everything else; the last one without a "judge"."""
    names = [endpoint["name"] for endpoint in endpoints]
    judge = "judge" if "judge" in names else names[-1]
    generators = [name for name in names if name != judge] or [judge]
    return parse_config(
        {
            "endpoints": list(endpoints),
            "generators": [{"name": name, "endpoint": name, "temperatures": [0.7, 1.0]} for name in generators],
            "cutoffs": {"easy": 0, "medium": 1},
            **{s: {"endpoint": judge} for s in ("judge", "ranker", "refiner", "regenerator", "summariser")},
        }
    )


def fake_python(folder: Path) -> Path:
    """What REASONMED_VLLM_PYTHON names: it takes `-m vllm…` and runs the fake instead."""
    path = folder / "python-with-vllm"
    path.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" -I "{FAKE}" "$@"\n')
    path.chmod(0o755)
    return path


def tell(model: Path, **behaviour: Any) -> None:
    """How the server of this model behaves from now on (fake_vllm.py)."""
    new = model.with_suffix(".new")
    new.write_text(json.dumps(behaviour))
    new.replace(model)
