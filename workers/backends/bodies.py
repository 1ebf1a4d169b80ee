"""What a request looks like on the wire, and the key that goes with it: the same for every transport."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import ModelError, Request

_REASONING = re.compile(r"(^|/)(o\d|gpt-([5-9]|\d\d))(?!.*chat)")  # OpenAI's reasoning models by their names


def is_reasoning(endpoint: EndpointConfig) -> bool:
    """The model takes `max_completion_tokens` and refuses sampling parameters (o-series, gpt-5).

    `style` decides; with `auto` the model's name does. An Azure deployment may be named anything: say its style.
    """
    if endpoint.style != "auto":
        return endpoint.style == "reasoning"
    return _named_reasoning(endpoint.model)


@lru_cache(1_000)
def _named_reasoning(model: str) -> bool:
    return _REASONING.search(model) is not None


def sent_params(request: Request) -> dict[str, Any]:
    """The request's parameters as they are sent: those that the model would refuse are left out."""
    if is_reasoning(request.endpoint):
        return {"max_completion_tokens": request.max_tokens}
    params: dict[str, Any] = {"max_tokens": request.max_tokens}
    if request.temperature is not None:
        params["temperature"] = request.temperature
    if request.top_p is not None:
        params["top_p"] = request.top_p
    if request.seed is not None:
        params["seed"] = request.seed
    return params


def chat_body(request: Request) -> dict[str, Any]:
    """The JSON body of a chat completion."""
    body = {"model": request.endpoint.model, "messages": request.messages, **sent_params(request)}
    if request.schema is not None:
        schema = {"name": "reply", "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def secret_of(endpoint: EndpointConfig) -> str:
    """The key in the variable that the endpoint names, empty where it names none. Raises ModelError (access)."""
    name = endpoint.api_key_env
    if not name:
        return ""
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise ModelError("access", f"endpoint {endpoint.name}: the environment variable {name} holds no key")
    if not (secret.isascii() and secret.isprintable()):
        raise ModelError(
            "access", f"endpoint {endpoint.name}: the key in {name} has characters that no header may hold"
        )
    return secret
