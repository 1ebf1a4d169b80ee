"""How many tokens a call will take, from the latest replies of its lane."""

from __future__ import annotations

from collections import deque
from math import ceil

from apps.pipeline.protocol import Request

CHARS_PER_TOKEN = 3.5
KNOWN_REPLIES = 20  # until then a reply is expected to take all it may
MARGIN = 1.1


class Outputs:
    """A little above the mean: with a high percentile most of what is in flight would be given back at once, and sent
    again in a burst."""

    def __init__(self) -> None:
        self.known_at: float | None = None
        self._latest: deque[int] = deque(maxlen=200)
        self._sum = 0

    def note(self, tokens: int, now: float) -> None:
        if len(self._latest) == self._latest.maxlen:
            self._sum -= self._latest[0]
        self._latest.append(tokens)
        self._sum += tokens
        if self.known_at is None and len(self._latest) >= KNOWN_REPLIES:
            self.known_at = now

    def expected(self, request: Request) -> int:
        """With the prompt."""
        prompt = sum(len(message["content"]) for message in request.messages) / CHARS_PER_TOKEN
        if self.known_at is None:
            return int(prompt) + request.max_tokens
        return int(prompt) + min(ceil(MARGIN * self._sum / len(self._latest)), request.max_tokens)
