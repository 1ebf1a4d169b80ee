"""Summarise: the concise rationale of a kept path, whose answer must still be the key (ReasonMed §summarizer)."""

from __future__ import annotations

from apps.pipeline.config import RunConfig
from apps.pipeline.outputs import Output, ResponseOut
from apps.pipeline.prompts import Prompt, render
from apps.pipeline.protocol import Reply, Request
from apps.pipeline.stages.base import Material, require_text, stage_request
from apps.reasoning.answers import extract_answer
from apps.reasoning.cleaning import clean_path
from apps.reasoning.policy.assess import Item


class Summarise:
    def prompt_name(self, item: Item) -> str:
        return "summarise"

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        assert item.path is not None
        sections = {"question": material.text, "path": material.paths[item.path]}
        if "{key}" in prompts["summarise"].text:
            sections["key"] = material.key_line
        return stage_request(config, config.summariser, render(prompts["summarise"], **sections), item, material)

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        """A summary with another answer is stored too, and never exported."""
        assert item.path is not None
        text = clean_path(require_text(reply)).strip()
        return ResponseOut(material.id, item.path, text, extract_answer(text, material.options).letter)
