"""The offline transport: vLLM's engine in this process, asked as its own batch runner asks it, without HTTP between.

An engine has a thread and an event loop of its own; pumps ask from theirs. It is shared by all endpoints with the same
model and options. Nothing of vLLM is imported before an engine starts: docs/engine.md tells which environment has it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import HeldBackError, ModelError, Reply, Request
from workers.backends import replies
from workers.backends.bodies import chat_body
from workers.serving.command import build_argv, check_endpoint, devices_of, serve_of

T = TypeVar("T")
RETRY_IN_S = 5.0  # a call whose engine is not up
STOP_S = 60.0


class EngineError(RuntimeError):
    """An engine that could not be started; says whose and why."""


class VllmEngine:
    """`apps.pipeline.protocol.Backend`. A call whose engine is not up is held back: nothing was asked."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def complete(self, request: Request) -> Reply:
        endpoint = request.endpoint
        engine = self._engines.find(endpoint)
        if engine is None or engine.dead:
            raise HeldBackError(f"the engine of {endpoint.name} is not up", RETRY_IN_S)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                status, body = await asyncio.wrap_future(engine.submit(engine.answer(chat_body(request))))
            if status != 200:
                raise replies.http_error(status, {}, body)
            return replies.read_reply(body, latency_ms=_ms_since(started))
        except TimeoutError:
            message = f"no answer within {endpoint.timeout_s:g} s"
            raise ModelError("connection", message, latency_ms=_ms_since(started), sent=True) from None
        except ModelError as error:
            error.latency_ms = _ms_since(started)
            raise

    async def close(self) -> None:
        """The engines stay: other pumps ask them too."""


class Engines:
    """The engines of this process, by what vLLM is told. Started and stopped by one thread, asked by any."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, ...], Engine] = {}

    def find(self, endpoint: EndpointConfig) -> Engine | None:
        return self._running.get(engine_options(endpoint))

    def start(self, endpoint: EndpointConfig) -> Engine:
        """Load the model: a minute or many. Raises EngineError."""
        options = engine_options(endpoint)
        engine = Engine(options, devices_of(serve_of(endpoint), 0))
        try:
            engine.start()
        except BaseException as error:
            words = str(error).strip().split("\n")[0] or type(error).__name__
            raise EngineError(f"{endpoint.name}: vLLM does not start: {words}") from error
        self._running[options] = engine
        return engine

    def stop(self, endpoint: EndpointConfig) -> None:
        if engine := self._running.pop(engine_options(endpoint), None):
            engine.stop()

    def stop_all(self) -> None:
        while self._running:
            self._running.popitem()[1].stop()


class Engine:
    def __init__(self, options: tuple[str, ...], devices: tuple[int, ...]) -> None:
        self._options, self._devices = options, devices
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._opened = AsyncExitStack()

    def start(self) -> None:
        self._thread.start()
        try:
            self.submit(self._open()).result()
        except BaseException:
            self.stop()
            raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Any:
        """A future of what the coroutine gives in the engine's loop; cancelling it cancels the work there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def dead(self) -> bool:
        """Its processes ended: nothing will come of it any more."""
        return bool(self._client.errored)

    async def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body, as the same vLLM would give them over HTTP."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.exception_handling.error_response import create_error_response

        try:
            answer = await self._chat.create_chat_completion(ChatCompletionRequest.model_validate(body))
        except Exception as error:  # whatever it is, vLLM knows the status that it stands for
            answer = create_error_response(error)
        status = answer.error.code if isinstance(answer, ErrorResponse) else 200
        return status, answer.model_dump_json().encode()

    def stop(self) -> None:
        if self._thread.is_alive():
            with suppress(TimeoutError):  # what hangs is ended by the warden, with this process
                self.submit(self._opened.aclose()).result(STOP_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_S)

    async def _open(self) -> None:
        """What `vllm run-batch` does before it takes its first request."""
        set_environment(self._devices)
        from starlette.datastructures import State
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
        from vllm.usage.usage_lib import UsageContext
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        try:
            args = make_arg_parser(FlexibleArgumentParser()).parse_args(list(self._options))
            validate_parsed_serve_args(args)
        except SystemExit:
            raise EngineError(f"it does not take one of the options {' '.join(self._options)}") from None
        context = UsageContext.OPENAI_BATCH_RUNNER
        self._client = await self._opened.enter_async_context(build_async_engine_client(args, usage_context=context))
        state = State()
        await init_app_state(self._client, state, args, await self._client.get_supported_tasks())
        self._chat = state.openai_serving_chat


def engine_options(endpoint: EndpointConfig) -> tuple[str, ...]:
    """What vLLM is told: what `serve_models` would tell it. Raises ServeError for what must not be passed on."""
    check_endpoint(endpoint, os.environ)
    _python, _m, _module, *options = build_argv(endpoint, port=1024, python="")
    return tuple(options)


def set_environment(devices: tuple[int, ...]) -> None:
    """`spawn`: a forked engine would hold our connections to PostgreSQL, and close them when it ends."""
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices))


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
