"""Summarise: the concise rationale of a kept path, whose answer must still be the key (ReasonMed §summarizer).

A summary that someone sent back is written again by a prompt of its own, which hears why.
"""

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
        """A later revision is wanted only where the summary before it was sent back."""
        return "summarise" if item.revision == 1 else "summarise_again"

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        assert item.path is not None
        sections = {"question": material.text, "path": material.paths[item.path]}
        prompt = prompts[self.prompt_name(item)]
        if "key" in prompt.sections:
            sections["key"] = material.key_line
        if "reasons" in prompt.sections:
            sections["reasons"] = material.listed_returns(item.path)
        return stage_request(config, config.summariser, render(prompt, **sections), item, material)

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        """A summary with another answer is stored too, and never exported."""
        assert item.path is not None
        text = clean_path(require_text(reply)).strip()
        return ResponseOut(material.id, item.path, text, extract_answer(text, material.options).letter)
