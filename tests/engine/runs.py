"""Runs over the tiny model, and what must hold of them whatever random weights say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.engine.vllm_server import CONTEXT, MODEL, ON_CPU
from tests.faults.instance import Instance

RUN = "tiny"
OUTPUTS = {  # table → what only one output may have
    "reasoning_reasoningpath": "run_id, question_id, origin, generator, sample, parent_id, revision",
    "reasoning_verdict": "run_id, path_id, round",
    "reasoning_rankscore": "run_id, path_id",
    "reasoning_response": "run_id, path_id, revision",
}


def endpoint(name: str, *, serve: dict[str, Any] | None = None, **fields: Any) -> str:
    tables = [table("[[endpoints]]", name=name, model=MODEL, timeout_s=120, **fields)]
    if serve:
        plain = {key: value for key, value in serve.items() if key != "adapters"}
        tables += [
            table("[endpoints.serve]", **plain),
            table("[endpoints.serve.adapters]", **serve.get("adapters", {})),
        ]
    return "\n".join(tables)


def serve_table(model: Path) -> dict[str, Any]:
    """How to run the tiny model without a GPU."""
    return {"model": str(model), "max_model_len": CONTEXT, "dtype": "float32", "extra": ON_CPU}


def table(header: str, **fields: Any) -> str:
    """JSON's strings, numbers and lists are TOML too."""
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in fields.items()), ""])


def write_config(folder: Path, *endpoints: str, generators: str, rest: str) -> Path:
    """Nine paths of few tokens a question. `generators` and `rest` name endpoints."""
    tables = [
        *endpoints,
        *(table("[[generators]]", name=f"g{n}", endpoint=generators, max_tokens=60) for n in (1, 2, 3)),
        table("[cutoffs]", easy=0, medium=1),  # its judge finds few errors
        table("[judge]", endpoint=rest, temperature=1.0, max_tokens=400),
        table("[ranker]", endpoint=rest, temperature=0.7, max_tokens=400),
        table("[refiner]", endpoint=rest, temperature=0.8, max_tokens=60),
        table("[regenerator]", endpoint=rest, max_tokens=60),
        table("[summariser]", endpoint=rest, temperature=0.5, max_tokens=40),
    ]
    path = folder / "run.toml"
    path.write_text("\n".join(tables))
    return path


def create_run(instance: Instance, config: Path, questions: int) -> None:
    instance.manage("create_run", "--name", RUN, "--config", str(config), "--limit", str(questions))


def assert_whole(instance: Instance, questions: int) -> None:
    """The run is finished, every question told, nothing doubled, nothing simulated, and all its counts agree."""
    status = instance.status(RUN)
    assert status["state"] == "finished"
    told = status["exported_ready"] + sum(status["excluded"].values()) + sum(status["waiting"].values())
    assert told == status["questions"] == questions
    assert all(status["excluded"]), "a question is excluded without a reason"
    assert all(status["waiting"]), "a question waits without a reason"
    assert json.loads(instance.manage("check_ledger", RUN, "--json"))["drift"] == 0
    assert_each_path_once(instance, questions)
    assert instance.count("SELECT count(*) FROM pipeline_call WHERE simulated") == 0


def assert_each_path_once(instance: Instance, questions: int) -> None:
    """Each of the nine generated paths is there or set aside, and no output of any stage is there twice."""
    for name, identity in OUTPUTS.items():
        doubled = f"SELECT count(*) FROM (SELECT 1 FROM {name} GROUP BY {identity} HAVING count(*) > 1) d"
        assert instance.count(doubled) == 0, name
    generated = instance.count("SELECT count(*) FROM reasoning_reasoningpath WHERE origin = 'generated'")
    set_aside = instance.count("SELECT count(*) FROM pipeline_failure WHERE stage = 'generate'")
    assert generated + set_aside == 9 * questions
