"""An OpenAI-compatible server whose models are simulated: same seed and same request, same reply.

Routes: POST /v1/chat/completions (whole or streamed; also as an Azure deployment), GET /v1/models, GET /health, files and
batches (workers.simulated.batches); for tests GET /stats and GET / POST /faults (loopback only).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Protocol

import orjson
from aiohttp import web

from apps.pipeline.protocol import SIMULATED_FINGERPRINT
from workers.simulated.ability import PROFILES
from workers.simulated.batches import Batches
from workers.simulated.dice import Dice, digest
from workers.simulated.faults import BatchFaults, FaultError, Faults, Kind, parse_faults
from workers.simulated.reading import Prompt, read_prompt
from workers.simulated.stages import STAGES, Answer, Job, answer, break_schema
from workers.simulated.tally import Identity, Tally

MAX_BODY = 16 * 1024 * 1024
CHUNK = 120  # characters of a streamed delta
JSON = {"Content-Type": "application/json"}


class KeySource(Protocol):
    """Where simulated models look keys up, so that their accuracy can be chosen; real models never see one."""

    async def key_of(self, question: str) -> str:
        """The letter of this joined question text (apps.questions.text), or empty. Raises KeysUnavailableError."""
        ...


class KeysUnavailableError(Exception):
    """The keys cannot be read just now; the request is answered 503."""


class NoKeys:
    """An option picked by the question's hash stands in for every key."""

    async def key_of(self, question: str) -> str:
        return ""


@dataclass(slots=True)
class SimulatorConfig:
    seed: int = 20260101
    words: int = 200  # of a path, about
    reasoning_apart: bool = False  # thinking models return `reasoning_content` beside `content`, as vLLM's parsers do
    faults: Faults = field(default_factory=Faults)


class BadRequestError(ValueError):
    """A request that an OpenAI-compatible server would answer with 400."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A parsed request."""

    model: str
    prompt: Prompt
    temperature: float | None
    max_tokens: int | None
    stream: bool
    usage_in_stream: bool
    tokens_in: int
    identity: Identity
    reply_seed: int


class Simulator:
    def __init__(self, config: SimulatorConfig | None = None, keys: KeySource | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.keys = keys or NoKeys()
        self.tally = Tally()
        self.batches = Batches(self)

    @property
    def batch_faults(self) -> BatchFaults:
        return self.config.faults.batch

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/openai/deployments/{name}/chat/completions", self.chat)
        self.batches.add_routes(app)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/stats", self.stats)
        app.router.add_get("/faults", self.show_faults)
        app.router.add_post("/faults", self.set_faults)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        tally = self.tally
        tally.received += 1
        tally.in_flight += 1
        tally.most_in_flight = max(tally.most_in_flight, tally.in_flight)
        try:
            ask = self._read(await request.read())
            return await self._reply(request, ask)
        except BadRequestError as error:
            return _error(400, str(error), "invalid_request_error")
        except KeysUnavailableError as error:
            return _error(503, str(error), "server_error")
        finally:
            tally.in_flight -= 1

    async def answer_line(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """A line of a batch: status and body. Faults of the connection are the provider's own, and a 500 here."""
        self.tally.received += 1
        try:
            ask = self._read(body)
            fault = self._draw(ask)
            if fault in STATUS_OF:
                return STATUS_OF[fault], _error_body(f"simulated: {fault}", "server_error")
            written, finish_reason = self._write(ask, await self._key(ask), fault)
        except BadRequestError as error:
            return 400, _error_body(str(error), "invalid_request_error")
        except KeysUnavailableError as error:
            return 503, _error_body(str(error), "server_error")
        if not fault:
            self.tally.add_answer(ask.identity)
        return 200, _completion(ask, written, finish_reason)

    async def models(self, request: web.Request) -> web.Response:
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "reasonmed"} for name in PROFILES]
        return _json({"object": "list", "data": entries})

    async def health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok", "simulated": True})

    async def stats(self, request: web.Request) -> web.Response:
        return _json(self.tally.report())

    async def show_faults(self, request: web.Request) -> web.Response:
        return _json(self.config.faults.model_dump())

    async def set_faults(self, request: web.Request) -> web.Response:
        """Replaces all faults; `{}` ends them. Only a program on this machine may, not a page in its browser."""
        if not _is_loopback(request) or "Origin" in request.headers:
            return _error(403, "faults are switched from this machine only", "permission_error")
        try:
            self.config.faults = parse_faults(orjson.loads(await request.read()))
        except (FaultError, orjson.JSONDecodeError) as error:
            return _error(400, str(error), "invalid_request_error")
        return await self.show_faults(request)

    def _read(self, body: bytes) -> _Ask:
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error
        messages = _checked_messages(data)
        prompt = read_prompt(messages)
        if prompt.stage and prompt.stage not in STAGES:
            raise BadRequestError(f"the simulated models know no stage {prompt.stage!r}, only {', '.join(STAGES)}")
        model, seed = str(data.get("model", "")), data.get("seed")
        temperature = None if data.get("temperature") is None else float(data["temperature"])
        said = digest(*(f"{m['role']}:{m['content']}" for m in messages))
        number = digest(model, said, seed, temperature)
        options = data.get("stream_options") or {}
        return _Ask(
            model=model,
            prompt=prompt,
            temperature=temperature,
            max_tokens=data.get("max_completion_tokens") or data.get("max_tokens"),
            stream=bool(data.get("stream")),
            usage_in_stream=bool(options.get("include_usage")),
            tokens_in=sum(_tokens(m["content"]) for m in messages),
            identity=Identity(number, prompt.stage, model, f"{said:016x}", seed),
            reply_seed=digest(self.config.seed, number),
        )

    async def _reply(self, request: web.Request, ask: _Ask) -> web.StreamResponse:
        faults, identity = self.config.faults, ask.identity
        fault = self._draw(ask)
        if delay := faults.delay_s(identity.number):
            await asyncio.sleep(delay)
        if failed := await self._fail(request, fault):
            return failed
        written, finish_reason = self._write(ask, await self._key(ask), fault)
        if not fault:
            self.tally.add_answer(identity)
        if ask.stream:
            return await _stream(request, ask, written, finish_reason, cut=fault == "cut")
        body = orjson.dumps(_completion(ask, written, finish_reason))
        if fault == "cut":
            return await _cut(request, body)
        return web.Response(body=body[: len(body) // 2] if fault == "garbled" else body, headers=JSON)

    def _draw(self, ask: _Ask) -> Kind | None:
        faults, identity = self.config.faults, ask.identity
        if faults.quiet:
            return None
        fault = faults.rates(ask.prompt.stage).draw(identity.number, self.tally.attempt(identity))
        if fault:
            self.tally.add_fault(identity, fault)
        return fault

    async def _key(self, ask: _Ask) -> str:
        return await self.keys.key_of(ask.prompt.question) if ask.prompt.question and not ask.prompt.key else ""

    async def _fail(self, request: web.Request, fault: Kind | None) -> web.Response | None:
        """The reply of a fault that happens before any model answers."""
        faults = self.config.faults
        if fault == "rate_429":
            retry_after = f"{faults.retry_after_s:g}"
            return _error(429, "simulated: too many requests", "rate_limit_error", {"Retry-After": retry_after})
        if fault == "error_500":
            return _error(500, "simulated: internal server error", "server_error")
        if fault == "refuse_400":
            return _error(400, "simulated: this request is refused", "invalid_request_error")
        if fault == "hang":
            await _wait_while_connected(request, faults.hang_s)
            return _error(504, "simulated: no answer in time", "server_error")
        return None

    def _write(self, ask: _Ask, key: str, fault: Kind | None) -> tuple[Answer, str]:
        """The answer with its finish reason, as the fault or the token cap leaves it."""
        dice = Dice(ask.reply_seed)
        job = Job(ask.prompt, ask.model, ask.temperature, key, self.config.words, dice)
        written = answer(job, reasoning_apart=self.config.reasoning_apart)
        text = written.content
        if fault == "empty":
            return Answer(""), "stop"
        if fault == "malformed_json" and text.startswith("{"):
            return Answer(text[: -len(text) // 3]), "stop"
        if fault == "bad_schema":
            return Answer(break_schema(text, dice)), "stop"
        cap = 4 * ask.max_tokens if ask.max_tokens else len(text)
        if fault == "length":
            cap = min(cap, len(text) // 2)
        return (Answer(text[:cap], written.reasoning), "length") if cap < len(text) else (written, "stop")


STATUS_OF: dict[Kind | None, int] = {
    "rate_429": 429, "refuse_400": 400, "error_500": 500, "hang": 500, "cut": 500, "garbled": 500,
}  # fmt: skip


def _checked_messages(data: Any) -> list[dict[str, str]]:
    if not isinstance(data, dict):
        raise BadRequestError("the body must be a JSON object")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages: a list of at least one is needed")
    for message in messages:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or not isinstance(message.get("content"), str)
        ):
            raise BadRequestError("messages: each needs a role and a content, both text")
    for name, kinds in (
        ("seed", (int,)),
        ("temperature", (int, float)),
        ("max_tokens", (int,)),
        ("max_completion_tokens", (int,)),
    ):
        value = data.get(name)
        if value is not None and (
            not isinstance(value, kinds) or isinstance(value, bool) or (name != "seed" and value < 0)
        ):
            raise BadRequestError(f"{name}: a number is needed")
    if data.get("n") not in (None, 1):
        raise BadRequestError("n: one reply a request")
    return messages


def _completion(ask: _Ask, written: Answer, finish_reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": written.content}
    if written.reasoning:
        message["reasoning_content"] = written.reasoning
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {**_head(ask, "chat.completion"), "choices": [choice], "usage": _usage(ask, written)}


def _head(ask: _Ask, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{ask.reply_seed:016x}",
        "object": kind,
        "created": 0,
        "model": ask.model,
        "system_fingerprint": SIMULATED_FINGERPRINT,
    }


def _usage(ask: _Ask, written: Answer) -> dict[str, Any]:
    tokens_out = _tokens(written.content) + _tokens(written.reasoning)
    return {
        "prompt_tokens": ask.tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": ask.tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _tokens(text: str) -> int:
    """Four characters a token, as English text comes out on average."""
    return (len(text) + 3) // 4


async def _stream(
    request: web.Request, ask: _Ask, written: Answer, finish_reason: str, *, cut: bool
) -> web.StreamResponse:
    """Server-sent events; a cut stream ends in the middle, without its finish reason and without [DONE]."""
    head = {**_head(ask, "chat.completion.chunk"), "usage": None}
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    for name, text in (("reasoning_content", written.reasoning), ("content", written.content)):
        deltas += [{name: text[at : at + CHUNK]} for at in range(0, len(text), CHUNK)]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    for delta in deltas[: len(deltas) // 2 + 1] if cut else deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        await response.write(_event({**head, "choices": [choice]}))
    if cut:
        return _abort(request, response)
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish_reason}
    await response.write(_event({**head, "choices": [last]}))
    if ask.usage_in_stream:
        await response.write(_event({**head, "choices": [], "usage": _usage(ask, written)}))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _wait_while_connected(request: web.Request, seconds: float) -> None:
    for _ in range(int(4 * seconds) + 1):
        if request.transport is None:
            return
        await asyncio.sleep(min(seconds, 0.25))


def _is_loopback(request: web.Request) -> bool:
    return request.remote is not None and ip_address(request.remote).is_loopback


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promises the whole body, sends half of it and breaks the connection."""
    response = web.StreamResponse(headers={**JSON, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _abort(request, response)


def _abort(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport:
        request.transport.close()
    return response


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _json(data: Any) -> web.Response:
    return web.Response(body=orjson.dumps(data), headers=JSON)


def _error(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(_error_body(message, kind))
    return web.Response(status=status, body=body, headers={**JSON, **(headers or {})})


def _error_body(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
