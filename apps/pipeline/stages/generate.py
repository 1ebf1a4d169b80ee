"""Generate: one path from a generator that never sees the key (ReasonMed §generation)."""

from __future__ import annotations

from apps.pipeline.config import GeneratorConfig, RunConfig
from apps.pipeline.outputs import Output, PathOut, RejectedError
from apps.pipeline.prompts import Prompt, render
from apps.pipeline.protocol import Reply, Request
from apps.pipeline.stages.base import Material, seed_of
from apps.reasoning.answers import extract_answer
from apps.reasoning.cleaning import clean_path, join_reply, sanitize_text
from apps.reasoning.policy.assess import Item


class Generate:
    def prompt_name(self, item: Item) -> str:
        return "generate"

    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request:
        generator = _generator(config, item)
        return Request(
            endpoint=config.endpoint(generator.endpoint),
            messages=render(prompts["generate"], question=material.text),
            max_tokens=generator.max_tokens,
            temperature=generator.temperatures[item.sample - 1],
            top_p=generator.top_p,
            seed=seed_of(config, material, item),
            affinity=material.id,
        )

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        """A reply cut even at the larger cap is kept as a truncated path without an answer: it was paid for."""
        if reply.finish_reason == "length" and request.max_tokens <= _generator(config, item).max_tokens:
            raise RejectedError("length", "the reply was cut at the token cap")
        return path_output(item, material, request, reply, origin="generated", generator=item.generator, parent=None)


def _generator(config: RunConfig, item: Item) -> GeneratorConfig:
    return next(g for g in config.generators if g.name == item.generator)


def path_output(
    item: Item, material: Material, request: Request, reply: Reply, *, origin: str, generator: str, parent: int | None
) -> PathOut:
    raw = sanitize_text(join_reply(reply.reasoning, reply.text))
    text = clean_path(raw).strip()
    if not text:
        raise RejectedError("empty", "the reply has no text")
    answer = extract_answer(raw, material.options, finish_reason=reply.finish_reason)
    return PathOut(
        question=material.id,
        origin=origin,
        generator=generator,
        sample=item.sample,
        parent=parent,
        revision=item.revision,
        raw=raw,
        text=text,
        answer=answer.letter,
        answer_how=answer.how,
        finish_reason=reply.finish_reason,
        model=reply.model or request.endpoint.model,
        temperature=request.temperature,
        seed=request.seed,
    )
