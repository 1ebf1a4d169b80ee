"""The most that a request can cost, known before it is sent."""

from __future__ import annotations

from decimal import Decimal

from apps.pipeline.protocol import Request

ENVELOPE_TOKENS = 64  # of a chat template, beside what is sent
MESSAGE_TOKENS = 16


def size_of(request: Request) -> int:
    """Bytes of what is sent, with room for the template around it: never less than its tokens."""
    sent = sum(len(m["content"].encode()) + MESSAGE_TOKENS for m in request.messages)
    return sent + ENVELOPE_TOKENS + (len(str(request.schema)) if request.schema else 0)


def most_it_costs(request: Request, *, caps: int = 1) -> Decimal:
    """In the currency of the endpoint's prices; `caps`: with the cap on the reply's tokens so many times as large."""
    return request.endpoint.most_it_costs(size_of(request), caps * request.max_tokens)
