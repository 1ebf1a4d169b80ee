"""What stages share: the material of a question, seeds, and the reading of replies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from apps.pipeline.config import RunConfig, StageConfig
from apps.pipeline.outputs import Output, RejectedError
from apps.pipeline.prompts import Prompt, render
from apps.pipeline.protocol import Message, Reply, Request
from apps.reasoning.cleaning import sanitize_text
from apps.reasoning.policy.assess import Item


@dataclass(slots=True)
class Material:
    """What the prompts of one question are made of. `paths`: the texts that items are about, by path id."""

    id: int
    uid: str
    text: str  # contexts, stem, lettered options
    options: list[str]
    key: str  # letter
    key_line: str  # "B. text"
    paths: dict[int, str] = field(default_factory=dict)
    slots: dict[int, tuple[str, int]] = field(default_factory=dict)  # path id -> generator, sample
    parents: dict[int, int] = field(default_factory=dict)  # rewritten path -> the path it rewrites
    reasons: dict[int, str] = field(default_factory=dict)  # Error path id -> the reason given
    returned: dict[int, list[str]] = field(default_factory=dict)  # path id -> why its earlier summaries were sent back
    retries: dict[tuple[str, str], int] = field(
        default_factory=dict
    )  # (stage, item) -> times people had it tried again

    def listed_reasons(self, first: int | None = None) -> str:
        """Reasons given against the question's Error paths, one a line in grid order; that of `first` on top."""
        ordered = sorted(
            self.reasons.items(), key=lambda pair: (pair[0] != first, self.slots.get(pair[0], ("", 0)), pair[0])
        )
        return "\n".join(f"- {reason}" for _, reason in ordered) or "- none recorded"

    def listed_returns(self, path: int) -> str:
        """Why earlier summaries of the path were sent back, one a line, the latest first."""
        return "\n".join(f"- {said}" for said in reversed(self.returned.get(path, ()))) or "- none recorded"


class Stage(Protocol):
    def build(self, config: RunConfig, prompts: dict[str, Prompt], item: Item, material: Material) -> Request: ...

    def accept(self, config: RunConfig, item: Item, material: Material, request: Request, reply: Reply) -> Output:
        """Raises RejectedError."""
        ...

    def prompt_name(self, item: Item) -> str: ...


def seed_of(config: RunConfig, material: Material, item: Item) -> int:
    """The same for the same run configuration and output, so that a run can be repeated; another for an output that was
    set aside and is tried again, since a server gives the same reply to the same seed."""
    named = f"{config.seed}:{material.uid}:{item.stage}:{item.sample}:{item.revision}:{item.generator}"
    if retries := material.retries.get((item.stage, item.key), 0):
        named += f":{retries}"
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4]) & 0x7FFFFFFF


def stage_request(
    config: RunConfig,
    stage: StageConfig,
    messages: list[Message],
    item: Item,
    material: Material,
    schema: dict[str, Any] | None = None,
) -> Request:
    return Request(
        endpoint=config.endpoint(stage.endpoint),
        messages=messages,
        max_tokens=stage.max_tokens,
        temperature=stage.temperature,
        top_p=stage.top_p,
        seed=seed_of(config, material, item),
        schema=schema,
        affinity=material.id,
    )


def judged_messages(prompt: Prompt, item: Item, material: Material) -> list[Message]:
    """Question, key, then the path: what the judge and the ranker see, in the order prefix caching wants."""
    assert item.path is not None
    return render(prompt, question=material.text, key=material.key_line, path=material.paths[item.path])


def require_text(reply: Reply) -> str:
    """The reply's text; a cut or empty one is rejected (finish_reason first, before anyone parses it)."""
    if reply.finish_reason == "length":
        raise RejectedError("length", "the reply was cut at the token cap")
    text = sanitize_text(reply.text).strip()
    if not text:
        raise RejectedError("empty", "the reply has no text")
    return text


def parse_json(reply: Reply) -> dict[str, Any]:
    """The reply's JSON object, also out of a code fence or after a closed think block."""
    text = require_text(reply)
    if "</think>" in text:
        text = text.rsplit("</think>", 1)[1]
    start, end = text.find("{"), text.rfind("}")
    try:
        data = orjson.loads(text[start : end + 1])
    except orjson.JSONDecodeError as error:
        raise RejectedError("schema", f"not the JSON asked for: {error}") from error
    if not isinstance(data, dict):
        raise RejectedError("schema", "not a JSON object")
    return data


def text_field(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RejectedError("schema", f"{name}: text expected")
    return sanitize_text(value).strip()
