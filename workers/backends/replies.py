"""What a server's HTTP reply means: a Reply, or the ModelError of its class. Everything in it is hostile."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from apps.pipeline.protocol import ErrorClass, ModelError, Reply

Headers = Mapping[str, str]

MAX_WORDS = 500  # characters of a server's own words that are kept
MAX_WAIT_S = 3600.0  # a Retry-After beyond this is cut
MAX_TOKENS = 2**31 - 1
NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})  # codes of a 429
_LONE = re.compile("[\ud800-\udfff]")
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_reply(body: bytes, *, latency_ms: int = 0, secret: str = "") -> Reply:
    """The reply in a 200 body. Raises ModelError (server) when the body is no chat completion."""
    return reply_in(parse(body), body, latency_ms=latency_ms, secret=secret)


def reply_in(data: Any, body: bytes = b"", *, latency_ms: int = 0, secret: str = "") -> Reply:
    """The same of JSON that is parsed already."""
    if data is None:
        raise ModelError("server", "the reply's body is not JSON", status=200)
    if isinstance(data, dict) and data.get("error"):
        raise ModelError("server", _words(data, body, secret), status=200)
    try:
        choice = data["choices"][0]
        message = choice["message"]
        content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ModelError(
            "server", "the reply is not a chat completion: it has no choices[0].message", status=200
        ) from None
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Reply(
        text=_text(content),
        reasoning=_text(reasoning),
        finish_reason=short(choice.get("finish_reason"), 20) or "stop",
        model=short(data.get("model"), 200),
        tokens_in=count(usage.get("prompt_tokens")),
        tokens_out=count(usage.get("completion_tokens")),
        tokens_cached=count(details.get("cached_tokens")) if isinstance(details, dict) else None,
        fingerprint=short(data.get("system_fingerprint"), 80),
        latency_ms=latency_ms,
    )


def http_error(status: int, headers: Headers, body: bytes, *, secret: str = "") -> ModelError:
    """The error that a status other than 200 stands for; a key that the server echoes is blotted out."""
    if 300 <= status < 400:
        return ModelError(
            "refused", f"the server answers {status}, a redirect; redirects are not followed", status=status
        )
    return error_in(status, headers, parse(body), body, secret=secret)


def error_in(status: int, headers: Headers, data: Any, body: bytes = b"", *, secret: str = "") -> ModelError:
    """The same of a body that is parsed already; the bytes speak where it is no JSON."""
    words = _words(data, body, secret)
    message = f"{status}: {words}"[:MAX_WORDS] if words else f"the server answers {status}"
    if _is_out_of_money(data):
        return ModelError("access", message, status=status)
    return ModelError(error_class_of(status), message, status=status, retry_after=retry_after(headers))


def _is_out_of_money(data: Any) -> bool:
    """The account's quota is used up: waiting does not help."""
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict):
        return False
    return any(isinstance(word, str) and word in NO_MONEY for word in (error.get("code"), error.get("type")))


def error_class_of(status: int) -> ErrorClass:
    if status == 429:
        return "rate_limit"
    if status == 408:  # the server gave up waiting for the request
        return "connection"
    if status in (401, 402, 403, 404):
        return "access"
    return "server" if status >= 500 else "refused"


def retry_after(headers: Headers, *, now: datetime | None = None) -> float | None:
    """Seconds, from `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date; where neither is there, from the
    organisation's limits that are used up (`x-ratelimit-reset-…`). None when absent or unreadable."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_WAIT_S)
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is None and value:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        seconds = max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
    if seconds is None:
        seconds = _limits_reset(headers)
    return None if seconds is None else min(seconds, MAX_WAIT_S)


def _limits_reset(headers: Headers) -> float | None:
    """When the organisation's used-up limits are whole again: OpenAI writes `1s`, `6m0s`, `17ms` or `1h2m3s`."""
    waits = []
    for kind in ("requests", "tokens"):
        reset = headers.get(f"x-ratelimit-reset-{kind}") or ""
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0" and _DURATION.fullmatch(reset):
            waits.append(sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(reset)))
    return max(waits, default=None)


def cleaned(text: str, limit: int | None = None) -> str:
    """Without NUL and lone surrogates, which neither PostgreSQL nor UTF-8 can hold; each becomes U+FFFD."""
    text = text[:limit].replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text)
    return text


def parse(body: bytes) -> Any:
    """None for what is not JSON. orjson refuses lone surrogates and bad UTF-8; the slower parser lets them pass to be cleaned."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None


def _words(data: Any, body: bytes, secret: str) -> str:
    """The server's own words: OpenAI's error.message, FastAPI's detail, or the beginning of the body; never our key."""
    found: Any = None
    if isinstance(data, dict):
        error = data.get("error")
        found = error.get("message") if isinstance(error, dict) else error
        found = found or data.get("message") or data.get("detail")
    if found is None:
        found = body.decode("utf-8", "replace")
    text = found if isinstance(found, str) else json.dumps(found, default=str)
    if secret:
        text = text.replace(secret, "[key]")
    return cleaned(" ".join(text[: 4 * MAX_WORDS].split()), MAX_WORDS)


def _text(value: Any) -> str:
    return cleaned(value) if isinstance(value, str) else ""


def short(value: Any, limit: int) -> str:
    return cleaned(value, limit) if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
