"""Verify: the judge's verdict on a path; it sees question, key and path, never who wrote it (ReasonMed §verifier)."""

from __future__ import annotations

from apps.pipeline.config import RunConfig
from apps.pipeline.outputs import Output, RejectedError, VerdictOut
from apps.pipeline.prompts import VERDICT_SCHEMA, Prompt
from apps.pipeline.protocol import Reply, Request
from apps.pipeline.stages.base import Material, judged_messages, parse_json, stage_request, text_field
from apps.reasoning.policy.assess import Item

AXES = ("correctness", "coherence", "factuality")


class Verify:
    def prompt_name(self, item: Item) -> str:
        return "verify"

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        messages = judged_messages(prompts["verify"], item, material)
        return stage_request(config, config.judge, messages, item, material, VERDICT_SCHEMA)

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        assert item.path is not None
        data = parse_json(reply)
        axes: list[bool] = []
        for axis in AXES:
            if data.get(axis) not in ("pass", "fail"):
                raise RejectedError("schema", f"{axis}: pass or fail expected")
            axes.append(data[axis] == "pass")
        if data.get("verdict") not in ("Correct", "Error"):
            raise RejectedError("schema", "verdict: Correct or Error expected")
        if all(axes) != (data["verdict"] == "Correct"):
            raise RejectedError("schema", "the verdict does not agree with its axes")
        label = "correct" if all(axes) else "error"
        correctness, coherence, factuality = axes
        return VerdictOut(material.id, item.path, label, correctness, coherence, factuality, text_field(data, "reason"))
