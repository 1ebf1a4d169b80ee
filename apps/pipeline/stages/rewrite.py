"""Refine a kept path of a medium question, or write a new one for a difficult question (ReasonMed §Error Refiner)."""

from __future__ import annotations

from apps.pipeline.config import RunConfig
from apps.pipeline.outputs import Output
from apps.pipeline.prompts import Prompt, render
from apps.pipeline.protocol import Reply, Request
from apps.pipeline.stages.base import Material, require_text, stage_request
from apps.pipeline.stages.generate import path_output
from apps.reasoning.policy.assess import Item


class Rewrite:
    """`stage`: refine or regenerate. A second revision is told, first of all, why the first one failed."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def prompt_name(self, item: Item) -> str:
        return self.stage

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        reasons = material.listed_reasons(first=item.path)
        if self.stage == "refine":
            assert item.path is not None
            messages = render(
                prompts["refine"],
                question=material.text,
                key=material.key_line,
                path=material.paths[item.path],
                reasons=reasons,
            )
            return stage_request(config, config.refiner, messages, item, material)
        messages = render(prompts["regenerate"], question=material.text, key=material.key_line, reasons=reasons)
        return stage_request(config, config.regenerator, messages, item, material)

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        require_text(reply)
        if self.stage == "regenerate":
            return path_output(item, material, request, reply, origin="regenerated", generator="", parent=None)
        assert item.path is not None
        source = material.parents.get(item.path, item.path)
        generator, sample = material.slots[source]
        out = path_output(item, material, request, reply, origin="refined", generator=generator, parent=source)
        out.sample = sample
        return out
