"""What the supervisor asks a server over HTTP: is it well, what does it serve, how is it doing. Answers are not trusted."""

from __future__ import annotations

import aiohttp
import orjson

from workers.serving.metrics import MAX_TEXT, Metrics, parse_metrics

TIMEOUT_S = 10.0


class Probe:
    """`root` is http://host:port. One instance belongs to one event loop."""

    def __init__(self, session: aiohttp.ClientSession, root: str, secret: str, timeout_s: float = TIMEOUT_S) -> None:
        self._session, self._root = session, root
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def is_well(self) -> bool:
        return await self._get("/health", 1024) is not None

    async def serves(self, model: str) -> bool:
        """Whether it is our server: it offers the model by the name that requests will use."""
        body = await self._get("/v1/models", MAX_TEXT)
        try:
            return body is not None and model in {entry["id"] for entry in orjson.loads(body)["data"]}
        except (ValueError, TypeError, KeyError):
            return False

    async def metrics(self) -> Metrics | None:
        body = await self._get("/metrics", MAX_TEXT)
        return None if body is None else parse_metrics(body.decode("utf-8", "replace"))

    async def _get(self, path: str, most: int) -> bytes | None:
        """The beginning of a 200's body; None for anything else."""
        try:
            async with self._session.get(
                self._root + path, headers=self._headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    return None
                body = b""
                while len(body) < most and (part := await response.content.read(most - len(body))):
                    body += part
                return body
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


def open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
