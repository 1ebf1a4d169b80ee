"""Prompts in the form the pipeline sends them, for tests of the simulated models."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp.test_utils import TestClient, TestServer

from apps.questions.text import LETTERS, join_question
from workers.simulated import KeySource, Simulator, SimulatorConfig
from workers.simulated.reading import stated_answer

GENERATORS = ("sim-qwen2.5-72b", "sim-r1-distill-70b", "sim-huatuogpt-o1-70b")
OPTIONS = ["First measure", "Second measure", "Third measure", "Fourth measure"]


def question(number: int = 0) -> str:
    stem = f"Case {number}: a patient notices a change on day {number}, without fever. A test is normal. Which measure fits best?"
    return join_question([], stem, OPTIONS)


def key_line(letter: str) -> str:
    return f"{letter}. {OPTIONS[LETTERS.index(letter)]}"


def messages(stage: str, number: int = 0, *, key: str = "", path: str = "") -> list[dict[str, str]]:
    user = f"<question>\n{question(number)}\n</question>\n"
    if key:
        user += f"<key>{key_line(key)}</key>\n"
    if path:
        user += f"<path>\n{path}\n</path>\n"
    return [
        {"role": "system", "content": f"Stage: {stage}\nYou are a medical expert."},
        {"role": "user", "content": user},
    ]


class FixedKeys:
    """Every question has the same key."""

    def __init__(self, letter: str = "B") -> None:
        self.letter = letter

    async def key_of(self, question: str) -> str:
        return self.letter


class Models:
    """Simulated models in this event loop, asked over loopback HTTP."""

    def __init__(self, config: SimulatorConfig | None = None, keys: KeySource | None = None) -> None:
        self.simulator = Simulator(config, keys or FixedKeys())
        self.client: TestClient[Any, Any] = TestClient(TestServer(self.simulator.app()))

    async def __aenter__(self) -> Models:
        await self.client.start_server()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.close()

    async def raw(self, stage: str, number: int = 0, *, model: str = GENERATORS[0], **more: Any) -> dict[str, Any]:
        sections = {name: more.pop(name) for name in ("key", "path") if name in more}
        body = {"model": model, "messages": messages(stage, number, **sections), **more}
        async with self.client.post("/v1/chat/completions", data=orjson.dumps(body)) as response:
            return {"status": response.status, **orjson.loads(await response.read())}

    async def text(self, stage: str, number: int = 0, **more: Any) -> str:
        return (await self.raw(stage, number, **more))["choices"][0]["message"]["content"]


__all__ = ["GENERATORS", "OPTIONS", "FixedKeys", "Models", "key_line", "messages", "question", "stated_answer"]
