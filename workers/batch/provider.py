"""Files and batches at a provider, through the `openai` package. What it says is hostile until it is read here."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from django.conf import settings
from openai import AsyncOpenAI

from apps.pipeline.config import EndpointConfig
from apps.pipeline.protocol import ModelError
from workers.backends import replies
from workers.backends.bodies import secret_of
from workers.backends.openai_sdk import open_client, read_capped, translated

TAG = "workbench_job"  # in a batch's metadata: the BatchJob it belongs to
PAGES = 50  # of 100 batches, looked through for one of ours
MAX_RESULTS = 16 << 30  # bytes of a file
CLOCKS_APART = timedelta(hours=24)
LOOKING = ("pending", "running", "notRunning")
LOOKED_THROUGH_S = 900.0
ENDED = ("completed", "expired", "cancelled", "failed")
STATUSES = (*ENDED, "validating", "in_progress", "finalizing", "cancelling")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,120}")


@dataclass(frozen=True, slots=True)
class View:
    """A batch as the provider shows it. Counts are None where it does not say."""

    id: str
    status: str
    job: str = ""
    output_file: str = ""
    error_file: str = ""
    completed: int | None = None
    failed: int | None = None
    created_at: datetime | None = None
    words: str = ""  # what was wrong with the file
    codes: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Provider:
    """One for each endpoint, in one event loop. Every method raises ModelError."""

    def __init__(self, endpoint: EndpointConfig, base_url: str) -> None:
        self.endpoint = endpoint
        self.secret = secret_of(endpoint)
        self.client: AsyncOpenAI = open_client(endpoint, base_url, self.secret)

    @property
    def url(self) -> str:
        """What each line of a file names as its address."""
        return "/chat/completions" if self.endpoint.provider == "azure" else "/v1/chat/completions"

    async def upload(self, content: IO[bytes], name: str) -> str:
        """The file's id, once the provider has looked through it (Azure takes a while, and no batch before that)."""
        data = await self._json(
            self.client.files.with_streaming_response.create,
            file=(name, content, "application/jsonl"),
            purpose="batch",
        )
        file_id = _identifier(data.get("id"), "file")
        deadline = time.monotonic() + LOOKED_THROUGH_S
        while data.get("status") in LOOKING:
            if time.monotonic() > deadline:
                raise ModelError("server", f"the file is still {data['status']} after {LOOKED_THROUGH_S:g} s")
            await asyncio.sleep(min(2.0, settings.BATCH_POLL_S))
            data = await self._json(self.client.files.with_streaming_response.retrieve, file_id=file_id)
        if data.get("status") == "error":
            words = replies.short(data.get("status_details"), 400)
            raise ModelError("refused", f"the provider cannot use the file: {words or 'it does not say why'}")
        return file_id

    async def create(self, file_id: str, job: str) -> View:
        data = await self._json(
            self.client.batches.with_streaming_response.create,
            input_file_id=file_id,
            endpoint=self.url,
            completion_window="24h",
            metadata={TAG: job},
        )
        return read_view(data)

    async def find(self, job: str, since: datetime) -> View | None:
        """The batch made for this job, if there is one; batches older than it are not looked at."""
        after: dict[str, str] = {}
        for _ in range(PAGES):
            data = await self._json(self.client.batches.with_streaming_response.list, limit=100, **after)
            page = _readable(data.get("data"))
            for view in page:
                if view.job == job:
                    return view
            last = page[-1] if page else None
            if last is None or not data.get("has_more"):
                return None
            if last.created_at is not None and last.created_at < since - CLOCKS_APART:
                return None
            after = {"after": last.id}
        return None

    async def retrieve(self, batch_id: str) -> View:
        return read_view(await self._json(self.client.batches.with_streaming_response.retrieve, batch_id=batch_id))

    async def cancel(self, batch_id: str) -> View:
        return read_view(await self._json(self.client.batches.with_streaming_response.cancel, batch_id=batch_id))

    async def download(self, file_id: str, into: IO[bytes]) -> None:
        content: Any = self.client.files.with_streaming_response.content
        async with translated(self.endpoint, self.secret), content(file_id) as response:
            size = 0
            async for part in response.iter_bytes():
                size += len(part)
                if size > MAX_RESULTS:
                    raise ModelError(
                        "refused", f"the file of results is larger than {MAX_RESULTS >> 30} GB", status=200
                    )
                into.write(part)

    async def delete(self, file_id: str) -> None:
        await self._json(self.client.files.with_streaming_response.delete, file_id=file_id)

    async def close(self) -> None:
        await self.client.close()

    async def _json(self, method: Any, **words: Any) -> dict[str, Any]:
        async with translated(self.endpoint, self.secret), method(**words) as response:
            body = await read_capped(response)
        data = replies.parse(body)
        if not isinstance(data, dict):
            raise ModelError("server", "the provider's answer is no JSON object", status=200)
        return data


def read_view(data: dict[str, Any]) -> View:
    """Raises ModelError (server) for what is no batch."""
    status = data.get("status")
    if status not in STATUSES:
        raise ModelError("server", f"the batch has the unknown status {replies.short(status, 40)!r}", status=200)
    metadata, counts = data.get("metadata"), data.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    errors = data.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    problems = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    return View(
        id=_identifier(data.get("id"), "batch"),
        status=str(status),
        job=replies.short(metadata.get(TAG), 60) if isinstance(metadata, dict) else "",
        output_file=_identifier(data.get("output_file_id"), "file") if data.get("output_file_id") else "",
        error_file=_identifier(data.get("error_file_id"), "file") if data.get("error_file_id") else "",
        completed=replies.count(counts.get("completed")),
        failed=replies.count(counts.get("failed")),
        created_at=_moment(data.get("created_at")),
        words="; ".join(_problem(e) for e in problems[:5])[: replies.MAX_WORDS],
        codes=tuple(replies.short(e.get("code"), 60) for e in problems[:5]),
    )


def _readable(entries: Any) -> list[View]:
    """The batches of a page; others' odd ones are none of our business."""
    found = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(ModelError, AttributeError):
            found.append(read_view(entry))
    return found


def _problem(error: dict[str, Any]) -> str:
    line = replies.count(error.get("line"))
    words = replies.short(error.get("message"), 200) or replies.short(error.get("code"), 60)
    return f"line {line}: {words}" if line is not None else words


def _identifier(value: Any, what: str) -> str:
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise ModelError("server", f"the provider's answer names no {what}", status=200)


def _moment(value: Any) -> datetime | None:
    seconds = replies.count(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
