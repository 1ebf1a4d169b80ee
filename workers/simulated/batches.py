"""The simulator's files and batches, as OpenAI's and Azure's Batch API has them: statuses, files, lines and refusals.

Routes under `/v1` and `/openai` (Azure's): files (upload, list, show, content, delete) and batches (create, show, list,
cancel). A batch lives in this process: its lines are answered by the simulated models, one after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

import orjson
from aiohttp import web

from workers.simulated.dice import Dice, digest
from workers.simulated.faults import BatchFaults

URLS = ("/v1/chat/completions", "/chat/completions")
MAX_LINES = 50_000
OPEN = ("validating", "in_progress", "finalizing", "cancelling")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Models(Protocol):
    """What a batch needs of the simulated models."""

    async def answer_line(self, body: bytes) -> tuple[int, dict[str, Any]]: ...

    @property
    def batch_faults(self) -> BatchFaults: ...


class RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(slots=True)
class StoredFile:
    id: str
    name: str
    purpose: str
    content: bytes
    created_at: int
    usable_at: float = 0  # monotonic
    status: str = "processed"  # what it comes to

    @property
    def is_pending(self) -> bool:
        return time.monotonic() < self.usable_at

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id, "object": "file", "bytes": len(self.content), "created_at": self.created_at,
            "filename": self.name, "purpose": self.purpose, "status": "pending" if self.is_pending else self.status,
            "status_details": "simulated: no use" if self.status == "error" else None,
        }  # fmt: skip


@dataclass(slots=True)
class StoredBatch:
    id: str
    input_file_id: str
    endpoint: str
    metadata: dict[str, str]
    created_at: int
    status: str = "validating"
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        stamps = {f"{name}_at": self.times.get(name) for name in (
            "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled",
        )}  # fmt: skip
        return {
            "id": self.id, "object": "batch", "endpoint": self.endpoint, "input_file_id": self.input_file_id,
            "errors": {"object": "list", "data": self.errors} if self.errors else None, "completion_window": "24h",
            "status": self.status, "output_file_id": self.output_file_id, "error_file_id": self.error_file_id,
            "created_at": self.created_at, "expires_at": self.created_at + 86_400, **stamps,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata or None,
        }  # fmt: skip

    def become(self, status: str) -> None:
        self.status = status
        self.times[status] = int(time.time())


class Batches:
    def __init__(self, models: Models) -> None:
        self.models = models
        self.files: dict[str, StoredFile] = {}
        self.batches: dict[str, StoredBatch] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._numbers = 0

    def add_routes(self, app: web.Application) -> None:
        for prefix in ("/v1", "/openai"):
            routes: list[tuple[str, str, Handler]] = [
                ("POST", "/files", self.upload),
                ("GET", "/files", self.list_files),
                ("GET", "/files/{id}", self.show_file),
                ("GET", "/files/{id}/content", self.content),
                ("DELETE", "/files/{id}", self.delete_file),
                ("POST", "/batches", self.create),
                ("GET", "/batches", self.list_batches),
                ("GET", "/batches/{id}", self.show),
                ("POST", "/batches/{id}/cancel", self.cancel),
            ]
            for method, path, handler in routes:
                app.router.add_route(method, prefix + path, _answering(handler))
        app.on_cleanup.append(self._stop)

    async def upload(self, request: web.Request) -> web.Response:
        if not request.content_type.startswith("multipart/"):
            raise RefusedError(400, "multipart/form-data with a purpose and a file is needed")
        purpose, name, content = "", "", None
        async for part in await request.multipart():
            if getattr(part, "name", None) == "purpose":
                purpose = (await part.read()).decode()  # type: ignore[union-attr]
            elif getattr(part, "name", None) == "file":
                name, content = part.filename or "", await self._read_file(part)  # type: ignore[union-attr]
        if purpose != "batch" or content is None:
            raise RefusedError(400, "a file with the purpose batch is needed")
        stored = self._store(name, "batch", content)
        faults = self.models.batch_faults
        stored.usable_at = time.monotonic() + faults.pending_s
        stored.status = "error" if faults.refuse_file else "processed"
        await asyncio.sleep(faults.upload_s)
        return _json(stored.shown())

    async def list_files(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [f.shown() for f in self.files.values()], "has_more": False})

    async def show_file(self, request: web.Request) -> web.Response:
        return _json(self._file(request).shown())

    async def content(self, request: web.Request) -> web.Response:
        stored = self._file(request)
        await asyncio.sleep(self.models.batch_faults.content_s)
        return web.Response(body=stored.content, content_type="application/octet-stream")

    async def delete_file(self, request: web.Request) -> web.Response:
        stored = self.files.pop(self._file(request).id)
        return _json({"id": stored.id, "object": "file", "deleted": True})

    async def create(self, request: web.Request) -> web.Response:
        """The batch exists before `create_s` has passed and its creator hears of it."""
        data = _object(await request.read())
        if self.models.batch_faults.refuse_create:
            raise RefusedError(503, "simulated: no batches are taken just now")
        stored = self.files.get(str(data.get("input_file_id")))
        if data.get("endpoint") not in URLS:
            raise RefusedError(400, f"Invalid value: {data.get('endpoint')!r}. Supported values are: {URLS}")
        if data.get("completion_window") != "24h":
            raise RefusedError(400, "Invalid value for 'completion_window': only '24h' is supported")
        if stored is None or stored.purpose != "batch":
            raise RefusedError(400, f"No file with the purpose batch: {data.get('input_file_id')}")
        if stored.is_pending:
            raise RefusedError(400, "The file is not processed yet.")
        batch = StoredBatch(
            self._id("batch"), stored.id, data["endpoint"], _metadata(data.get("metadata")), int(time.time())
        )
        self.batches[batch.id] = batch
        task = asyncio.create_task(self._work(batch, stored.content))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        await asyncio.sleep(self.models.batch_faults.create_s)
        return _json(batch.shown())

    async def list_batches(self, request: web.Request) -> web.Response:
        """Newest first, `limit` a page, after the batch named."""
        limit = int(request.query.get("limit", "20"))
        if not 1 <= limit <= 100:
            raise RefusedError(400, "limit: between 1 and 100")
        newest = list(reversed(self.batches.values()))
        if after := request.query.get("after"):
            newest = newest[[b.id for b in newest].index(after) + 1 :] if after in self.batches else []
        page = [b.shown() for b in newest[:limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return _json({"object": "list", "data": page, **ends, "has_more": len(newest) > limit})

    async def show(self, request: web.Request) -> web.Response:
        return _json(self._batch(request).shown())

    async def cancel(self, request: web.Request) -> web.Response:
        batch = self._batch(request)
        if batch.status not in ("validating", "in_progress", "cancelling"):
            raise RefusedError(409, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.status != "cancelling":
            batch.become("cancelling")
        return _json(batch.shown())

    async def _work(self, batch: StoredBatch, content: bytes) -> None:
        faults = self.models.batch_faults
        lines, batch.errors = _validated(content, batch.endpoint)
        if faults.fail_validation > 0:
            faults.fail_validation -= 1
            batch.errors = [_problem(faults.validation_code, "simulated: this file is refused", None)]
        await asyncio.sleep(faults.seconds / 4)
        if batch.errors:
            return batch.become("failed")
        batch.total = len(lines)
        if batch.status == "validating":
            batch.become("in_progress")
        written, refused, rest = await self._answer(batch, lines)
        end = {"cancelling": "cancelled", "in_progress": "expired" if rest else "completed"}[batch.status]
        if end == "completed":
            batch.become("finalizing")
        code = "batch_expired" if end == "expired" else "batch_cancelled"
        refused += [_line(line["custom_id"], None, {"code": code, "message": WORDS[code]}) for line in rest]
        self._publish(batch, written, refused)
        batch.become(end)
        return None

    async def _answer(self, batch: StoredBatch, lines: list[dict[str, Any]]) -> tuple[list[Any], list[Any], list[Any]]:
        """Answered and refused lines, and those that were not reached."""
        faults = self.models.batch_faults
        written: list[Any] = []
        refused: list[Any] = []
        last = len(lines) if faults.expire_after is None else ceil(len(lines) * faults.expire_after)
        for number, line in enumerate(lines):
            if batch.status == "cancelling" or number >= last:
                return written, refused, lines[number:]
            await asyncio.sleep(faults.seconds / len(lines))
            if Dice(digest("line", line["custom_id"])).chance(faults.fail_lines):
                status, body = 500, {"error": {"message": "simulated: internal error", "type": "server_error"}}
            else:
                status, body = await self.models.answer_line(orjson.dumps(line["body"]))
            response = {"status_code": status, "request_id": self._id("req"), "body": body}
            (written if status == 200 else refused).append(_line(line["custom_id"], response, None))
            batch.completed, batch.failed = len(written), len(refused)
        return written, refused, []

    def _publish(self, batch: StoredBatch, written: list[Any], refused: list[Any]) -> None:
        faults, dice = self.models.batch_faults, Dice(digest("order", batch.id))
        for name, lines in (("output", written), ("error", refused)):
            if not lines:
                continue
            if faults.shuffle:
                lines.sort(key=lambda line: digest("order", line["custom_id"]))
            raw = [orjson.dumps(line) for line in lines]
            if faults.odd_lines:
                foreign = orjson.dumps({**lines[0], "custom_id": "somebody-elses"})
                raw += [raw[int(dice.unit() * len(raw))], foreign, b'{"custom_id": ', b"[]", b""]
            stored = self._store(f"{batch.id}_{name}.jsonl", "batch_output", b"\n".join(raw) + b"\n")
            setattr(batch, f"{name}_file_id", stored.id)

    def _store(self, name: str, purpose: str, content: bytes) -> StoredFile:
        stored = StoredFile(self._id("file"), name, purpose, content, int(time.time()))
        self.files[stored.id] = stored
        return stored

    async def _read_file(self, part: Any) -> bytes:
        limit, parts, size = self.models.batch_faults.file_limit, [], 0
        while chunk := await part.read_chunk(1 << 20):
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                raise RefusedError(413, f"File is too large: the limit is {limit} bytes")
        return b"".join(parts)

    def _file(self, request: web.Request) -> StoredFile:
        if stored := self.files.get(request.match_info["id"]):
            return stored
        raise RefusedError(404, f"No such File object: {request.match_info['id']}")

    def _batch(self, request: web.Request) -> StoredBatch:
        if batch := self.batches.get(request.match_info["id"]):
            return batch
        raise RefusedError(404, f"No batch found with id '{request.match_info['id']}'.")

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers:06d}"

    async def _stop(self, app: web.Application) -> None:
        for task in self._working:
            task.cancel()


WORDS = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed: the batch was cancelled.",
}


def _line(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> dict[str, Any]:
    return {
        "id": f"batch_req_{digest(custom_id):016x}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }


def _validated(content: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The file's lines, or what is wrong with it."""
    lines: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, raw in enumerate(content.splitlines(), start=1):
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return [], [_problem("invalid_json_line", f"Line {number} is not valid JSON.", number)]
        problem = _wrong_line(line, endpoint, seen)
        if problem:
            return [], [_problem(*problem, number)]
        seen.add(line["custom_id"])
        lines.append(line)
    if not lines:
        return [], [_problem("empty_file", "The batch input file is empty.", None)]
    if len(lines) > MAX_LINES:
        return [], [_problem("too_many_tasks", f"The batch input file has more than {MAX_LINES} requests.", None)]
    if len({line["body"].get("model") for line in lines}) > 1:
        return [], [_problem("mismatched_model", "All requests of a batch must be for the same model.", None)]
    return lines, []


def _wrong_line(line: Any, endpoint: str, seen: set[str]) -> tuple[str, str] | None:
    if not isinstance(line, dict) or not isinstance(line.get("custom_id"), str) or not line["custom_id"]:
        return "missing_required_parameter", "Missing required parameter: custom_id."
    if line["custom_id"] in seen:
        return "duplicate_custom_id", f"The custom_id {line['custom_id']!r} is used twice."
    if line.get("method") != "POST" or line.get("url") != endpoint:
        return "mismatched_endpoint", "The method must be POST and the url the batch's endpoint."
    if not isinstance(line.get("body"), dict):
        return "missing_required_parameter", "Missing required parameter: body."
    return None


def _problem(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    fits = isinstance(value, dict) and len(value) <= 16
    if not fits or not all(isinstance(v, str) and len(k) <= 64 and len(v) <= 512 for k, v in value.items()):
        raise RefusedError(400, "metadata: at most 16 pairs of text, 64 and 512 characters long")
    return dict(value)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return data


def _answering(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as error:
            kind = "invalid_request_error" if error.status < 500 else "server_error"
            body = {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}
            return _json(body, status=error.status)

    return answer


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(data), content_type="application/json")
