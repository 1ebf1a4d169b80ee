"""Rank: the Quality Ranker's score of a Correct path, 0–5 (ReasonMed §Quality Ranker)."""

from __future__ import annotations

from apps.pipeline.config import RunConfig
from apps.pipeline.outputs import Output, RejectedError, ScoreOut
from apps.pipeline.prompts import RANK_SCHEMA, Prompt
from apps.pipeline.protocol import Reply, Request
from apps.pipeline.stages.base import Material, judged_messages, parse_json, stage_request, text_field
from apps.reasoning.policy.assess import Item


class Rank:
    def prompt_name(self, item: Item) -> str:
        return "rank"

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        messages = judged_messages(prompts["rank"], item, material)
        return stage_request(config, config.ranker, messages, item, material, RANK_SCHEMA)

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        assert item.path is not None
        data = parse_json(reply)
        score = data.get("score")
        if not isinstance(score, int) or isinstance(score, bool) or not 0 <= score <= 5:
            raise RejectedError("schema", "score: a whole number from 0 to 5 expected")
        return ScoreOut(material.id, item.path, score, text_field(data, "justification"))
